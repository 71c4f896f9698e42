"""Settings: what goes over what, and errors that name the key, its place and the nearest key."""

import tomllib
from pathlib import Path

import pytest

from app.errors import BadSettings
from app.settings import Settings, keys, load_settings
from app.settings_edit import set_value
from app.settings_text import as_toml, leaves, origins


def config(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return file


def test_defaults_without_a_file(tmp_path: Path) -> None:
    settings = load_settings(tmp_path / "none.toml")
    assert settings.model.reference == "embedded" and settings.retrieval.embedder == "embedded"


def test_a_flag_goes_over_the_environment_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = config(tmp_path, "[model]\nthreads = 1\ndevice = 'cpu'\nreference = 'file'\n[retrieval]\nworkers = 3")
    monkeypatch.setenv("LOCI_MODEL__THREADS", "2")
    monkeypatch.setenv("LOCI_MODEL__REFERENCE", "environment")
    settings = load_settings(file, {"model.reference": "flag", "model.context": None})
    assert (settings.model.reference, settings.model.threads, settings.model.device) == ("flag", 2, "cpu")
    assert settings.retrieval.workers == 3 and settings.model.context is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model]\nthread = 2", ["model.thread", "config.toml", "Did you mean model.threads?"]),
        ("[modle]\nthreads = 2", ["modle", "Did you mean model?"]),
        ("[model]\nthreads = 'many'", ["model.threads", "config.toml"]),
        ("[model]\nthreads = 0\n[retrieval]\nworkers = 0", ["model.threads", "retrieval.workers"]),
        (
            "[model]\nthreads = 1000000000\ncache_gib = inf\nshelf_gib = nan\nexperts_gib = 1e300\nspeculate = 1000",
            ["model.threads", "model.cache_gib", "model.shelf_gib", "model.experts_gib", "model.speculate"],
        ),
        ("[model\n", ["config.toml", "not valid TOML"]),
        ("model = 3", ["model (", "is `3`, but must be a table: [model]."]),
        ("[model]\nthreads = 2.5", ["is `2.5`, but must be a whole number of at least 1 and at most 1,024."]),
        (
            "[model]\nspeculate = false",
            ["is `false`, but must be a whole number of at least 0 and at most 64 or auto."],
        ),
        ("[model]\ntimeout = true", ["is `true`, but must be a number above 0 and at most 1,000,000."]),
        ("[model]\nreference = true", ["is `true`, but must be text."]),
        ("[memory]\nenabled = 3", ["is `3`, but must be true or false."]),
        ("[model]\ndtype = 'half'", ["is `half`, but must be auto, float32 or bfloat16."]),
        ("[model]\nxyzzy = 1", ["model.xyzzy", "is no setting. See docs/CLI.md"]),
        ("[memory]\nthread = 1", ["Did you mean model.threads?"]),
    ],
)
def test_a_bad_file_is_named_with_its_key(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(BadSettings) as caught:
        load_settings(config(tmp_path, text))
    for word in words:
        assert word in str(caught.value)


def test_a_bad_flag_or_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadSettings, match=r"model\.threads \(on the command line\)"):
        load_settings(tmp_path / "none", {"model.threads": 0})
    monkeypatch.setenv("LOCI_MODEL__THREADS", "0")
    with pytest.raises(BadSettings, match=r"model\.threads \(in LOCI_MODEL__THREADS\)"):
        load_settings(tmp_path / "none")
    monkeypatch.delenv("LOCI_MODEL__THREADS")
    monkeypatch.setenv("LOCI_MODEL__RANKS", "0")  # which could also be "auto"
    with pytest.raises(BadSettings, match=r"^model\.ranks \(in LOCI_MODEL__RANKS\) is `0`, .* 1,024 or auto\.$"):
        load_settings(tmp_path / "none")
    monkeypatch.delenv("LOCI_MODEL__RANKS")
    monkeypatch.setenv("LOCI_MODEL", '{"ranks": 0}')
    with pytest.raises(BadSettings, match=r"^model\.ranks \(in LOCI_MODEL\) is `0`"):
        load_settings(tmp_path / "none")


def test_an_unknown_variable_is_an_error_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCI_MODEL__TREADS", "2")
    with pytest.raises(BadSettings, match="Did you mean LOCI_MODEL__THREADS"):
        load_settings(tmp_path / "none")
    monkeypatch.delenv("LOCI_MODEL__TREADS")
    for variable, words in (("LOCI_HOM", "Did you mean LOCI_HOME?"), ("LOCI_MODEL__FOO", "See docs/CLI.md")):
        monkeypatch.setenv(variable, "2")
        with pytest.raises(BadSettings) as caught:
            load_settings(tmp_path / "none")
        assert f"{variable} is no setting. {words}" in str(caught.value)
        monkeypatch.delenv(variable)


def test_a_group_as_one_variable_must_be_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCI_MODEL", "embedded")
    with pytest.raises(BadSettings):
        load_settings(tmp_path / "none")


def test_every_key_has_a_default_and_a_sentence(tmp_path: Path) -> None:
    settings = load_settings(tmp_path / "none")
    names = list(keys())
    assert {"model.threads", "retrieval.workers", "memory.enabled", "assistant.prefill_seconds"} <= set(names)
    for name in names:
        value: object = settings
        for part in name.split("."):
            value = getattr(value, part)
    assert all(meant for _, _, meant, _ in leaves(settings))


def test_the_text_of_the_settings_is_a_file_that_gives_them(tmp_path: Path) -> None:
    given = load_settings(config(tmp_path, "[model]\nthreads = 2\nranks = 3\n[memory]\nenabled = false"))
    text = as_toml(given)
    assert load_settings(config(tmp_path, text)).model_dump() == given.model_dump()
    assert "# CPU threads; " in text and "\n# context =\n" in text
    assert "threads = 2" not in as_toml(Settings.model_construct())


def test_a_setting_says_what_decides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = config(tmp_path, "[model]\nthreads = 1\ndevice = 'cpu'")
    monkeypatch.setenv("LOCI_MODEL__THREADS", "2")
    monkeypatch.setenv("LOCI_RETRIEVAL", '{"workers": 3}')
    monkeypatch.delenv("LOCI_RESIDENT__ENABLED")
    found = origins(file)
    assert {key: where for key, where in found.items() if where != "default"} == {
        "model.threads": "environment", "model.device": "file", "retrieval.workers": "environment",
    }  # fmt: skip
    text = as_toml(load_settings(file), found)
    assert "threads = 2  # by the environment" in text and 'device = "cpu"\n' in text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "[memory]\nenabled = false\n"),
        ("# mine\n[model]\nthreads = 2\n", "# mine\n[model]\nthreads = 2\n\n[memory]\nenabled = false\n"),
        ("[memory] # x\nepisodes = false\n\n[model]\n", "[memory] # x\nenabled = false\nepisodes = false\n\n[model]\n"),
        ("[memory]\n enabled=true # y\n", "[memory]\nenabled = false\n"),
    ],
)
def test_a_flag_is_set_and_all_else_stays(tmp_path: Path, before: str | None, after: str) -> None:
    file = tmp_path / "config.toml"
    if before is not None:
        file.write_text(before)
    set_value(file, "memory", "enabled", False)
    assert file.read_text() == after and file.stat().st_mode & 0o777 == 0o600


def test_a_word_is_set_and_a_table_is_written_as_toml(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[chat.keys]\n"turn.copy" = "ctrl+y"\n')
    set_value(file, "chat", "theme", "high-contrast")
    found = load_settings(file).chat
    assert (found.theme, found.keys) == ("high-contrast", {"turn.copy": "ctrl+y"})
    assert tomllib.loads(as_toml(load_settings(file)))["chat"] == {
        "theme": found.theme,
        "keys": found.keys,
        "pictures": True,
    }


def test_a_flag_that_is_written_in_another_way_is_left_to_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("memory.enabled = true\n")
    with pytest.raises(BadSettings, match=r"in a way of its own"):
        set_value(file, "memory", "enabled", False)
    assert file.read_text() == "memory.enabled = true\n"
