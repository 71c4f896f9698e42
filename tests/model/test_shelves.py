"""What was read comes back from disk: the same answers without prefill, nothing stale or torn, within a budget."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from model.cache import PAGE, LatentCache, token_bytes
from model.config import read_config
from model.engine import Delta, Finished, Logprobs, Message, Request, Sampling
from model.errors import ModelError, NotEnoughSpace, UnsupportedOperation
from model.sequence import TokenSequence
from model.settings import ModelSettings
from model.shelves import Shelf, Shelves
from model.torch_engine import TorchEngine

Make = Callable[..., tuple[Path, Any]]
DOCUMENT = "The ferry leaves the old harbour at seven and the mill turns all night by the quay. " * 4


def new(folder: Path, shelves: Path | None, **changes: Any) -> TorchEngine:
    return TorchEngine(folder, ModelSettings(**changes), shelves=shelves)


def run(engine: TorchEngine, prompt: Any, tokens: int = 12) -> tuple[str, int]:
    """Text, and tokens of the prompt that were not read by the model."""
    *events, last = engine.generate(Request(prompt, Sampling(max_tokens=tokens)))
    assert isinstance(last, Finished)
    return "".join(event.text for event in events if isinstance(event, Delta)), last.usage.cached_tokens


def asking(question: str) -> list[Message]:
    return [Message("system", "Be brief."), Message("user", f"{DOCUMENT}\n\nQuestion: {question}")]


def only(folder: Path) -> Shelf:
    (shelf,) = Shelves(folder, 0).all()
    return shelf


# --- Documents


@pytest.mark.parametrize("changes", [{}, {"cache_type": "fp8"}, {"dtype": "bfloat16"}])
def test_a_pinned_document_is_not_read_again(make_checkpoint: Make, tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = make_checkpoint(3, kv_lora_rank=128)[0]
    first = new(folder, tmp_path, **changes)
    kept = first.shelve([asking("a"), asking("b")], "d1")
    assert kept >= len(DOCUMENT)
    expected, _ = run(first, asking("When?"))
    later = new(folder, tmp_path, **changes)
    text, cached = run(later, asking("When?"))
    assert text == expected
    assert cached == kept
    if not changes:  # what is rounded depends on how much is read at once
        assert text == run(new(folder, None), asking("When?"))[0]


def test_only_what_a_prompt_shares_is_restored(checkpoint: Path, tmp_path: Path) -> None:
    new(checkpoint, tmp_path).shelve([DOCUMENT], "d1")
    prompt = DOCUMENT[: 3 * PAGE + 10] + "but now something else follows"
    text, cached = run(new(checkpoint, tmp_path), prompt)
    assert cached >= 3 * PAGE
    assert text == run(new(checkpoint, None), prompt)[0]


def test_the_file_is_safetensors_of_the_cache(checkpoint: Path, tmp_path: Path) -> None:
    new(checkpoint, tmp_path).shelve([DOCUMENT], "d1")
    with safe_open(tmp_path / f"{only(tmp_path).key}.safetensors", framework="pt") as file:
        assert file.get_tensor("tokens").shape == (len(DOCUMENT),)
        assert file.get_tensor("rows").shape == (3, len(DOCUMENT), 40)
        assert file.get_tensor("rows").dtype == torch.float32


def test_without_a_folder_nothing_can_be_pinned(checkpoint: Path) -> None:
    with pytest.raises(UnsupportedOperation):
        new(checkpoint, None).shelve([DOCUMENT], "d1")


def test_a_document_that_exceeds_the_budget_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(NotEnoughSpace, match="d1"):
        new(checkpoint, tmp_path, shelf_gib=1e-5).shelve([DOCUMENT], "d1")
    assert not list(tmp_path.iterdir())


# --- Sessions


def test_a_session_goes_on_after_a_restart_without_prefill(checkpoint: Path, tmp_path: Path) -> None:
    engine = new(checkpoint, tmp_path, shelf_tokens=64)
    prompt = DOCUMENT[:150]
    answer, _ = run(engine, prompt)
    engine.close()
    follow_up = prompt + answer + " And then?"
    text, cached = run(new(checkpoint, tmp_path, shelf_tokens=64), follow_up)
    assert cached >= len(prompt)
    assert text == run(new(checkpoint, None), follow_up)[0]


def test_a_session_that_went_on_takes_one_shelf(checkpoint: Path, tmp_path: Path) -> None:
    tokens = list(range(10, 160))
    for _ in range(3):
        engine = new(checkpoint, tmp_path, shelf_tokens=64)
        events = engine.generate(Request(tokens, Sampling(max_tokens=12, logprobs=1)))
        answer = [event.token.id for event in events if isinstance(event, Logprobs)]
        tokens = [*tokens, *(one for one in answer if one is not None), *range(20, 90)]
        engine.close()
    assert only(tmp_path).label == "session"
    engine = new(checkpoint, tmp_path)  # keeps only what is pinned
    run(engine, "x" * 200)
    engine.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_what_parts_in_its_last_page_has_a_shelf_each(checkpoint: Path, tmp_path: Path) -> None:
    engine = new(checkpoint, tmp_path)
    for label, end in (("d1", "left"), ("d2", "right")):
        engine.shelve([DOCUMENT[:100] + end.ljust(5)], label)
    assert {shelf.label for shelf in Shelves(tmp_path, 0).all()} == {"d1", "d2"}
    for end in ("left", "right"):
        assert run(new(checkpoint, tmp_path), DOCUMENT[:100] + end.ljust(5) + "?")[1] == 105


def test_a_pinned_document_does_not_keep_the_conversation_about_it(checkpoint: Path, tmp_path: Path) -> None:
    engine = new(checkpoint, tmp_path, shelf_tokens=64)
    run(engine, DOCUMENT + "What of the mill?")
    engine.close()
    engine = new(checkpoint, tmp_path, shelf_tokens=64)
    engine.shelve([DOCUMENT], "d1")
    engine.forget_sessions()
    assert (only(tmp_path).label, only(tmp_path).tokens) == ("d1", len(DOCUMENT))


# --- Stale and damaged ones


@pytest.mark.parametrize("where", [-1, 100, 9000, 0])
def test_a_damaged_shelf_is_removed_and_the_prompt_read(checkpoint: Path, tmp_path: Path, where: int) -> None:
    new(checkpoint, tmp_path).shelve([DOCUMENT], "d1")
    file = tmp_path / f"{only(tmp_path).key}.safetensors"
    data = bytearray(file.read_bytes())
    data[where] ^= 0xFF
    file.write_bytes(data)
    text, cached = run(new(checkpoint, tmp_path), DOCUMENT + "?")
    assert cached == 0
    assert text == run(new(checkpoint, None), DOCUMENT + "?")[0]
    assert not list(tmp_path.iterdir())
    again = new(checkpoint, tmp_path)
    again.shelve([DOCUMENT], "d1")  # and can be built again
    assert run(new(checkpoint, tmp_path), DOCUMENT + "?") == (text, len(DOCUMENT))


def test_a_truncated_shelf_or_manifest_counts_as_absent(checkpoint: Path, tmp_path: Path) -> None:
    for suffix in ("json", "safetensors"):
        new(checkpoint, tmp_path).shelve([DOCUMENT], "d1")
        file = tmp_path / f"{only(tmp_path).key}.{suffix}"
        file.write_bytes(file.read_bytes()[:-7])
        assert run(new(checkpoint, tmp_path), DOCUMENT + "?")[1] == 0


SPOILT: list[dict[str, Any]] = [
    {"uses": "x"}, {"uses": None}, {"uses": math.nan}, {"used": "x"}, {"tokens": 10**400}, {"tokens": -5},
    {"pages": 5}, {"tail": None}, {"extra": 1}, {"key": "other"},
]  # fmt: skip


@pytest.mark.parametrize("spoilt", [*SPOILT, "[" * 100_000, "[]", "", "null"], ids=lambda one: str(one)[:20])
def test_a_spoilt_manifest_counts_as_absent_and_its_shelf_is_swept(
    checkpoint: Path, tmp_path: Path, spoilt: dict[str, Any] | str
) -> None:
    engine = new(checkpoint, tmp_path)
    engine.shelve([DOCUMENT], "d1")
    manifest = tmp_path / f"{only(tmp_path).key}.json"
    old = json.loads(manifest.read_text())
    manifest.write_text(spoilt if isinstance(spoilt, str) else json.dumps(old | spoilt))
    assert run(new(checkpoint, tmp_path), DOCUMENT + "?")[1] == 0
    for file in tmp_path.iterdir():
        os.utime(file, (1e9, 1e9))
    engine.shelve(["another " * 20], "d2")
    assert only(tmp_path).label == "d2" and len(list(tmp_path.iterdir())) == 2


def test_the_budget_counts_what_the_disk_holds(checkpoint: Path, tmp_path: Path) -> None:
    new(checkpoint, tmp_path).shelve([DOCUMENT], "d1")
    manifest = tmp_path / f"{only(tmp_path).key}.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"bytes": -(10**18)}))
    assert only(tmp_path).bytes == manifest.with_suffix(".safetensors").stat().st_size


def test_a_head_with_too_few_checksums_is_damage(checkpoint: Path, tmp_path: Path) -> None:
    new(checkpoint, tmp_path).shelve([DOCUMENT], "d1")
    file = tmp_path / f"{only(tmp_path).key}.safetensors"
    data = file.read_bytes()
    start = data.index(b'"rows": "') + 9
    file.write_bytes(data[:start] + b" " * 9 + data[start + 9 :])
    assert run(new(checkpoint, tmp_path), DOCUMENT + "?")[1] == 0
    assert not list(tmp_path.iterdir())


def test_a_damaged_shelf_that_cannot_be_removed_keeps_nobody_from_an_answer(checkpoint: Path, tmp_path: Path) -> None:
    new(checkpoint, tmp_path).shelve([DOCUMENT], "d1")
    file = tmp_path / f"{only(tmp_path).key}.safetensors"
    file.unlink()
    file.mkdir()  # which `unlink` refuses, as it does in a folder of another user
    assert run(new(checkpoint, tmp_path), DOCUMENT + "?")[1] == 0


def test_a_session_that_cannot_be_kept_is_let_go(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "shelves").write_text("a file where the folder should be")
    engine = new(checkpoint, tmp_path / "shelves", shelf_tokens=64)
    run(engine, DOCUMENT)
    engine.close()
    with pytest.raises(ModelError, match="shelves"):
        new(checkpoint, tmp_path / "shelves").shelve([DOCUMENT], "d1")


def test_shelves_of_another_model_dtype_or_cache_are_not_used(make_checkpoint: Make, tmp_path: Path) -> None:
    folder = make_checkpoint(3, kv_lora_rank=128)[0]
    new(folder, tmp_path).shelve([DOCUMENT], "d1")
    for other, changes in (
        (make_checkpoint(3, kv_lora_rank=128, routed_scaling_factor=2.0)[0], {}),
        (folder, {"dtype": "bfloat16"}),
        (folder, {"cache_type": "fp8"}),
    ):
        assert run(new(other, tmp_path, **changes), DOCUMENT + "?")[1] == 0
    assert only(tmp_path).label == "d1"


def test_a_manifest_that_promises_other_tokens_is_found_out(checkpoint: Path, tmp_path: Path) -> None:
    new(checkpoint, tmp_path).shelve([DOCUMENT], "d1")
    shelf = only(tmp_path)
    engine = new(checkpoint, tmp_path)
    other = "z" * len(DOCUMENT)
    fake = TokenSequence(engine._tokenizer.prompt_ids(other), engine._root)
    manifest = tmp_path / f"{shelf.key}.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(values | {"pages": [fake.digest(n + 1).hex() for n in range(len(shelf.pages))]}))
    assert run(engine, other)[1] == 0
    assert not manifest.exists()


# --- Budget


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def filled(checkpoint: Path, folder: Path, budget: int, clock: Clock) -> tuple[Shelves, Callable[..., bool]]:
    """Shelves, and how to put a sequence of 128 tokens that begins with a number on them."""
    config = read_config(checkpoint)
    cache = LatentCache(config, 2, torch.float32, torch.device("cpu"))
    cache.storage.zero_()
    shelves = Shelves(folder, budget, "model", clock)

    def put(first: int, label: str | None = None, pinned: bool = False) -> bool:
        sequence = TokenSequence([first] * 2 * PAGE, b"model", held=2 * PAGE, pages=[0, 1])
        return shelves.store(sequence, cache, label or str(first), pinned) is not None

    return shelves, put


def test_the_shelf_of_least_expected_use_is_given_up(checkpoint: Path, tmp_path: Path) -> None:
    clock = Clock()
    size = 2 * PAGE * token_bytes(read_config(checkpoint), torch.float32, False) + 3000
    shelves, put = filled(checkpoint, tmp_path, 3 * size, clock)
    assert put(1) and put(2)
    engine = new(checkpoint, None)
    runner, blocks = engine._loaded(), engine._blocks
    runner.cache = LatentCache(read_config(checkpoint), blocks.count, torch.float32, torch.device("cpu"))
    sequence = TokenSequence([1] * 3 * PAGE, b"model")
    for _ in range(3):
        found = shelves.find(sequence)
        assert found is not None and found[1] == 2 * PAGE
        assert shelves.restore(found[0], sequence, found[1], blocks, runner)
    clock.now += 86400
    assert put(3) and put(4)
    assert {shelf.label for shelf in shelves.all()} == {"1", "3", "4"}
    clock.now += 365 * 86400  # what was used much long ago is not expected to be used
    assert put(5)
    clock.now += 86400
    assert put(6) and put(7)
    assert {shelf.label for shelf in shelves.all()} == {"5", "6", "7"}
    assert sum(file.stat().st_size for file in tmp_path.glob("*.safetensors")) <= 3 * size


def test_what_is_kept_already_is_pinned_where_it_lies_and_stays_so(checkpoint: Path, tmp_path: Path) -> None:
    _, put = filled(checkpoint, tmp_path, 1 << 20, Clock())
    steps = [("session", False, ("session", False)), ("d1", True, ("d1", True)), ("session", False, ("d1", True))]
    for label, pinned, expected in steps:
        assert put(1, label, pinned)
        assert (only(tmp_path).label, only(tmp_path).pinned) == expected


def test_pinned_shelves_stay(checkpoint: Path, tmp_path: Path) -> None:
    engine = new(checkpoint, tmp_path, shelf_gib=0.0004)
    kept = engine.shelve(["a" * 300], "d1")
    with pytest.raises(NotEnoughSpace, match="no room for d"):
        for n in range(2, 9):
            engine.shelve([chr(97 + n) * 300], f"d{n}")
    labels = [shelf.label for shelf in Shelves(tmp_path, 0).all()]
    assert "d1" in labels
    assert run(new(checkpoint, tmp_path), "a" * 300 + "b")[1] == kept


# --- Processes


def test_what_a_killed_process_left_is_swept_and_does_no_harm(checkpoint: Path, tmp_path: Path) -> None:
    new(checkpoint, tmp_path).shelve([DOCUMENT], "d1")
    for name in ("x.safetensors.abc.part", "y.safetensors"):
        (tmp_path / name).write_bytes(b"torn")
        os.utime(tmp_path / name, (1e9, 1e9))
    (tmp_path / "z.safetensors.abc.part").write_bytes(b"being written")
    engine = new(checkpoint, tmp_path)
    assert run(engine, DOCUMENT + "?")[1] == len(DOCUMENT)
    engine.shelve(["another " * 20], "d2")
    left = {file.name for file in tmp_path.iterdir()}
    assert not left & {"x.safetensors.abc.part", "y.safetensors"}
    assert "z.safetensors.abc.part" in left


WRITER = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from model.settings import ModelSettings
from model.torch_engine import TorchEngine
engine = TorchEngine(Path(sys.argv[1]), ModelSettings(shelf_gib=0.002), shelves=Path(sys.argv[2]))
print("ready", flush=True)
for n in range(int(sys.argv[3])):
    engine.shelve([f"{n % 5} " * 150], f"d{n % 5}")
    for shelf in engine._shelves.all()[2:]:
        engine._shelves.remove(shelf.key)
"""


def writer(checkpoint: Path, folder: Path, rounds: int) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(checkpoint), str(folder), str(rounds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_share_the_folder(checkpoint: Path, tmp_path: Path) -> None:
    both = [writer(checkpoint, tmp_path, 25) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    for shelf in Shelves(tmp_path, 0).all():
        number = shelf.label[1:]
        text, cached = run(new(checkpoint, tmp_path), f"{number} " * 150 + "x")
        assert cached == 300
        assert text == run(new(checkpoint, None), f"{number} " * 150 + "x")[0]


def test_a_process_killed_while_it_writes_leaves_only_whole_shelves(checkpoint: Path, tmp_path: Path) -> None:
    for wait in (0.05, 0.2):
        process = writer(checkpoint, tmp_path, 10_000)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        for n in range(5):
            prompt = f"{n} " * 150 + "x"
            text, cached = run(new(checkpoint, tmp_path), prompt)
            assert cached in (0, 300)
            assert text == run(new(checkpoint, None), prompt)[0]
