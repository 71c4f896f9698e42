"""`loci model pull` against a Hub on this machine: what is fetched, what is refused, and going on after a kill."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from model.errors import BadCheckpoint, NotEnoughSpace, PullFailed, UnknownModel, UnsupportedArchitecture
from model.hub import Hub, HubFile
from model.open import open_engine, resolve
from model.pull import Pulled, pull
from model.settings import ModelSettings
from tests.model.hub_server import COMMIT, FakeHub, serve

REFERENCE = "hf:org/name"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("model.hub._delay", lambda tries: 0.0)
    return tmp_path / "hub"


@pytest.fixture
def hub(checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The small checkpoint as a publisher would offer it, with files that no engine reads."""
    files = {file.name: file.read_bytes() for file in checkpoint.iterdir() if file.is_file()}
    files |= {"pytorch_model.bin": b"pickle", "consolidated.safetensors": b"twice", "README.md": b"# Card"}
    files |= {
        "name-Q4_K_M.gguf": b"GGUF" * 9,
        "name-Q8_0-00001-of-00002.gguf": b"1",
        "name-Q8_0-00002-of-00002.gguf": b"22",
    }
    files |= {"big/name-Q8_0-00001-of-00002.gguf": b"333"}
    with serve(files) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        yield hub


def asked(hub: FakeHub) -> set[str]:
    return {name for name, _ in hub.asked}


def test_what_the_torch_engine_reads_is_fetched_and_opens(hub: FakeHub, cache: Path) -> None:
    pulled = pull(REFERENCE)
    wanted = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
    assert asked(hub) == set(pulled.files) == wanted
    assert pulled.bytes == sum(len(hub.files[name]) for name in wanted) and pulled.revision == COMMIT
    assert resolve(REFERENCE).target == pulled.folder
    engine = open_engine(REFERENCE, ModelSettings())
    assert engine.count_tokens("abc") == 3
    engine.close()


def test_huggingface_hub_finds_the_files_too(hub: FakeHub, cache: Path) -> None:
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    pulled = pull(REFERENCE)
    found = try_to_load_from_cache("org/name", "model.safetensors", cache_dir=cache)
    assert found == str(pulled.folder / "model.safetensors")
    assert not scan_cache_dir(cache).warnings


def test_a_second_pull_fetches_nothing(hub: FakeHub) -> None:
    pull(REFERENCE)
    hub.asked.clear()
    again = pull(REFERENCE)
    assert hub.asked == [] and again.fetched == 0


def test_one_gguf_quantisation_is_fetched_with_all_its_parts(hub: FakeHub) -> None:
    assert pull(f"{REFERENCE}:q4_k_m").files == ("name-Q4_K_M.gguf",)
    hub.files.pop("big/name-Q8_0-00001-of-00002.gguf")
    pulled = pull(f"{REFERENCE}:Q8_0")
    assert pulled.files == ("name-Q8_0-00001-of-00002.gguf", "name-Q8_0-00002-of-00002.gguf")
    assert resolve(f"{REFERENCE}:Q8_0").target == pulled.folder / pulled.files[0]
    with pytest.raises(UnknownModel, match=r"It has Q4_K_M, Q8_0\."):
        pull(f"{REFERENCE}:Q2_K")


def test_shards_are_those_that_the_index_names(hub: FakeHub) -> None:
    hub.files["a.safetensors"] = hub.files.pop("model.safetensors")
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": {"x": "a.safetensors"}}).encode()
    assert "a.safetensors" in pull(REFERENCE).files and "consolidated.safetensors" not in asked(hub)
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": {"x": "b.safetensors"}}).encode()
    with pytest.raises(BadCheckpoint, match=r"b\.safetensors"):
        pull(REFERENCE)


def test_an_architecture_that_cannot_run_costs_no_weights(hub: FakeHub) -> None:
    hub.files["config.json"] = b'{"model_type": "llama"}'
    with pytest.raises(UnsupportedArchitecture, match="llama"):
        pull(REFERENCE)
    assert asked(hub) == {"config.json"}


def test_pickles_alone_are_refused_with_the_quantisations_there_are(hub: FakeHub) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(UnknownModel, match="hf:org/name:Q4_K_M"):
        pull(REFERENCE)
    assert hub.asked == []


def test_a_revision_can_be_pinned(hub: FakeHub, cache: Path) -> None:
    pulled = pull(f"{REFERENCE}@v1")
    for reference in (f"{REFERENCE}@v1", f"{REFERENCE}@{COMMIT}", f"{REFERENCE}@{COMMIT[:8]}", REFERENCE):
        assert resolve(reference).target == pulled.folder
    with pytest.raises(UnknownModel, match="loci model pull hf:org/name@v2"):
        resolve(f"{REFERENCE}@v2")
    with pytest.raises(UnknownModel, match="no revision v2"):
        pull(f"{REFERENCE}@v2")


def test_too_full_a_disk_is_told_before_any_weight(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil._ntuple_diskusage(10**9, 10**9, 1000)
    monkeypatch.setattr("model.pull.shutil.disk_usage", lambda folder: full)
    with pytest.raises(NotEnoughSpace, match="HF_HOME"):
        pull(REFERENCE)
    assert asked(hub) == {"config.json"}


def test_damage_on_the_way_is_found_and_removed(hub: FakeHub, cache: Path) -> None:
    hub.damaged = True
    with pytest.raises(PullFailed, match=r"model\.safetensors of org/name arrived damaged"):
        pull(REFERENCE)
    assert not list(cache.rglob("snapshots/*"))
    hub.damaged = False
    assert pull(REFERENCE).folder.is_dir()


def test_a_broken_transfer_goes_on_by_itself(hub: FakeHub) -> None:
    hub.files["model.safetensors"] = os.urandom(5 << 20)
    hub.cut = 3
    pull(REFERENCE)
    starts = [wanted for name, wanted in hub.asked if name == "model.safetensors"]
    assert len(starts) == 4 and starts[0] == "" and all(re.fullmatch(r"bytes=[1-9]\d+-", one) for one in starts[1:])


def test_a_server_without_ranges_is_begun_anew(hub: FakeHub) -> None:
    hub.files["model.safetensors"] = os.urandom(3 << 20)
    hub.cut, hub.ranges = 1, False
    with pytest.raises(PullFailed, match="only from its beginning"):
        pull(REFERENCE)
    assert pull(REFERENCE).revision == COMMIT


@pytest.mark.parametrize(
    ("refusal", "error", "words"),
    [
        ((403, "GatedRepo"), PullFailed, "accepted the terms.*hf auth login"),
        ((401, "RepoNotFound"), UnknownModel, "shows no model org/name.*spelling"),
        ((404, "RepoNotFound"), UnknownModel, "shows no model org/name.*spelling"),
        ((500, ""), PullFailed, "answered 500"),
    ],
)
def test_refusals_are_told_in_words(hub: FakeHub, refusal: tuple[int, str], error: Any, words: str) -> None:
    hub.refusal = refusal
    with pytest.raises(error) as told:
        pull(REFERENCE)
    assert re.search(words, str(told.value)), str(told.value)


def test_a_refused_token_is_told_apart(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    hub.refusal = 401, ""
    with pytest.raises(PullFailed, match="refused the token"):
        pull(REFERENCE)


def test_no_network_is_told_with_the_mend(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PullFailed, match=r"cannot be reached.*HF_ENDPOINT"):
        pull(REFERENCE)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PullFailed, match="HF_HUB_OFFLINE"):
        pull(REFERENCE)


def test_names_that_leave_the_cache_are_refused(hub: FakeHub, cache: Path) -> None:
    hub.files["../outside.json"] = b"{}"
    with pytest.raises(PullFailed, match="outside"):
        pull(REFERENCE)


def test_redirects_that_lead_nowhere_are_told(hub: FakeHub) -> None:
    for place in (f"/org/name/resolve/{COMMIT}/config.json", "ftp://127.0.0.1/x", "http://[", "http://127.0.0.1:9/x"):
        hub.redirect = place
        with pytest.raises(PullFailed, match=r"config\.json of org/name"):
            pull(REFERENCE)


@pytest.mark.parametrize("endpoint", ["http://[", "nonsense", "http://:0", "http://\x00"])
def test_an_endpoint_that_is_no_address_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    with pytest.raises(PullFailed, match="HF_ENDPOINT"):
        pull(REFERENCE)


def test_a_token_that_no_header_can_hold_is_told(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_schlüssel")
    with pytest.raises(PullFailed, match="HF_TOKEN"):
        pull(REFERENCE)


SHA1 = f'"{"a" * 40}"'
ENTRIES = [
    ('"config.json"', "-5", SHA1), ('"config.json"', '"x"', SHA1), ('"config.json"', "5", '"../../x"'),
    ('"config.json"', "5", "7"), ('"/etc/x"', "5", SHA1), ('""', "5", SHA1), ('"a\\u0000b"', "5", SHA1),
]  # fmt: skip
LISTED = [
    "[" * 100_000, "[]", "null", "{}", '{"sha": "../x", "siblings": []}', f'{{"sha": "{COMMIT}", "siblings": 5}}',
    *(
        f'{{"sha": "{COMMIT}", "siblings": [{{"rfilename": {name}, "size": {size}, "blobId": {blob}}}]}}'
        for name, size, blob in ENTRIES
    ),
]  # fmt: skip


@pytest.mark.parametrize("listed", LISTED, ids=range(len(LISTED)))
def test_a_listing_that_no_hub_would_send_is_refused(hub: FakeHub, listed: str) -> None:
    hub.listed = listed.encode()
    with pytest.raises(PullFailed, match="did not answer as a Hub does"):
        pull(REFERENCE)


@pytest.mark.parametrize("shards", [5, None, ["a.safetensors"], {"x": 1}, "../x.safetensors", "config.json"])
def test_an_index_that_names_no_shards_is_refused(hub: FakeHub, shards: Any) -> None:
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": {"x": shards, "y": "z"}}).encode()
    with pytest.raises(BadCheckpoint, match=r"index"):
        pull(REFERENCE)


def test_a_revision_cannot_leave_the_cache(hub: FakeHub, cache: Path, tmp_path: Path) -> None:
    for revision in ("../../../v1", f"{tmp_path}/v1", "a/../v1"):
        with pytest.raises(UnknownModel, match="revision"):
            pull(f"{REFERENCE}@{revision}")
    assert not (tmp_path / "v1").exists()


def test_a_file_of_another_size_than_listed_is_refused(hub: FakeHub, cache: Path) -> None:
    hub.overlong = 5
    with pytest.raises(PullFailed, match="more than"):
        pull(REFERENCE)
    hub.overlong = 0
    listing = hub.listing()
    assert isinstance(listing["siblings"], list)
    for one in listing["siblings"]:
        one["size"] = 0 if one["rfilename"] == "config.json" else one["size"]
    hub.listed = json.dumps(listing).encode()
    with pytest.raises(PullFailed, match=r"config\.json of org/name arrived damaged"):
        pull(REFERENCE)
    hub.listed = None
    assert pull(REFERENCE).folder.is_dir()


def test_a_cache_that_cannot_be_written_is_told_with_the_mend(hub: FakeHub, cache: Path) -> None:
    cache.write_text("a file where the cache should be")
    with pytest.raises(PullFailed, match=r"hub.*HF_HOME"):
        pull(REFERENCE)


def test_a_disk_that_fills_up_is_told_and_what_came_is_kept(
    hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Hub, repository: str, commit: str, file: HubFile, partial: Path, arrived: Any) -> None:
        partial.write_bytes(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Hub, "fetch", full)
    with pytest.raises(NotEnoughSpace, match=r"hub is full.*HF_HOME"):
        pull(REFERENCE)
    assert _largest_partial(cache) == 4


def test_a_killed_pull_goes_on_where_it_stopped(hub: FakeHub, cache: Path) -> None:
    hub.files["model.safetensors"] = content = os.urandom(24 << 20)
    hub.pause = 0.02  # about 3 MB/s: 8 s in all
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0"}
    environment["LOCI_HOME"] = str(cache.parent / "home")
    command = [sys.executable, "-m", "app.cli.main", "model", "pull", REFERENCE, "--json"]
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while _largest_partial(cache) < 1 << 20 and time.monotonic() < deadline:
        assert killed.poll() is None, "the pull ended before it could be killed"
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    partial = _largest_partial(cache)
    assert 0 < partial < len(content) and not list(cache.rglob("snapshots/*"))

    hub.asked.clear()
    hub.pause = 0.0
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    told = json.loads(done.stdout)
    assert ("model.safetensors", f"bytes={partial}-") in hub.asked
    assert (Path(told["folder"]) / "model.safetensors").read_bytes() == content
    assert told["bytes"] - told["fetched"] >= partial and told["revision"] == COMMIT
    assert "MB/s" in done.stderr
    assert set(told) == set(Pulled.__dataclass_fields__)


def _largest_partial(cache: Path) -> int:
    sizes = [0]
    for file in cache.rglob("*.incomplete"):
        with suppress(FileNotFoundError):  # it is complete by now
            sizes.append(file.stat().st_size)
    return max(sizes)
