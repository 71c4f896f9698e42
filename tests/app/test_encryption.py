"""Encryption at rest, through the door: nothing that was read, told or asked lies in any file of the profile as it is;
commands work as before with the passphrase, say what is wrong without; and a kill while it is turned on or off leaves
a profile that can be read.
"""

import json
import os
import shutil
import signal
import unicodedata
from pathlib import Path
from typing import Any

import pytest

import app.encryption
import app.keys
from app.errors import BadInput
from app.keys import Keys, read_slot
from app.profile import locate_profile, open_profile, shelves
from app.resident.place import Place
from app.workspace import Workspace
from memory.types import Source
from retrieval.cipher import Key, connect, decrypted
from retrieval.errors import DatabaseProblem, WrongKey
from tests.app.cli_run import Run

PASSPHRASE = "seven grumbling rocks"
SECRET = "My boat is called Whimbrelonde"
NEEDLES = (b"whimbrelonde", b"forty anchors", b"crew is ana", b"grumbling")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.keys, "COST", 1 << 4)


@pytest.fixture
def told(loci: Run, read: Path) -> int:
    """A library of two documents, and a memory told in a turn."""
    with Workspace.open() as opened:
        turn = opened.memory.begin_turn(opened.memory.start_session(), f"Remember that {SECRET}.")
        memory = opened.memory.add(SECRET, source=Source("told", 1, turn))
        opened.memory.finish_turn(turn, "I will remember: your boat is called Whimbrelonde.", "{}", True)
    return memory.id


@pytest.fixture
def encrypted(loci: Run, told: int, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("LOCI_PASSPHRASE", PASSPHRASE)
    ran = loci("encrypt", "--yes")
    assert ran.code == 0 and "2 databases" in ran.err
    return told


def all_bytes(home: Path) -> bytes:
    return b"\n".join(file.read_bytes() for file in sorted(home.rglob("*")) if file.is_file()).lower()


def found(home: Path) -> list[bytes]:
    held = all_bytes(home)
    return [needle for needle in NEEDLES if needle in held]


def inside(file: Path, key: Key) -> bytes:
    return b"".join(decrypted(file, key)).lower()


def test_no_file_of_an_encrypted_profile_has_a_text_and_commands_work_as_before(
    loci: Run, encrypted: int, home: Path, read: Path
) -> None:
    assert found(home) == []
    assert loci("search", "anchors", "--json").json[0]["text"].endswith("There are forty anchors in the shed.")
    assert loci("memory", "recall", "boat", "--json").json[0]["text"] == SECRET
    assert "whimbrelonde" in loci("sessions", "show", 1).out.lower()
    (read / "more.md").write_text("# More\n\nThe seventh rock is grumbling at Kvistholmen.\n")
    assert loci("ingest", read).code == 0
    assert loci("memory", "add", "I sail with Whimbrelonde on Sundays").code == 0
    assert b"kvistholmen" not in all_bytes(home) and found(home) == []
    assert ("encryption", "ok") in {(one["check"], one["state"]) for one in loci("doctor", "--json").json}


def test_vectors_and_what_models_read_are_not_written_while_encrypted(
    loci: Run, told: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = locate_profile()
    monkeypatch.setenv("LOCI_RETRIEVAL__REBUILD_AFTER", "1")
    loci("search", "anchors")
    assert list(profile.cache.glob("vectors-*.faiss"))
    shelves(profile).mkdir()
    monkeypatch.setenv("LOCI_PASSPHRASE", PASSPHRASE)
    assert loci("encrypt", "--yes").code == 0
    assert loci("search", "anchors", "--json").json
    assert not list(profile.cache.glob("*.faiss")) and not shelves(profile).exists()
    with Workspace.open() as opened:
        assert opened.library.search("anchors", collections=("main",))
    (profile.cache / "vectors-1-x.faiss").write_bytes(b"left by an older version")
    assert "vectors-1-x.faiss" in loci("doctor").out
    assert loci("doctor", "--fix").code == 0 and not list(profile.cache.glob("*.faiss"))


def test_the_old_bytes_are_overwritten(told: int, home: Path) -> None:
    file = locate_profile().data / "memory.db"
    with file.open("rb") as before:
        app.encryption.encrypt(locate_profile(), PASSPHRASE)
        before.seek(0)
        assert set(before.read()) == {0}
    assert file.read_bytes()[:6] != b"SQLite"


def test_without_the_passphrase_nothing_opens_and_it_is_said_why(
    loci: Run, encrypted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCI_PASSPHRASE", "eight rocks")
    wrong = loci("memory", "list")
    assert wrong.code == 1 and "not the passphrase" in wrong.err and not wrong.out
    monkeypatch.delenv("LOCI_PASSPHRASE")
    locked = loci("memory", "list")
    assert locked.code == 2 and "LOCI_PASSPHRASE" in locked.err
    doctor = loci("doctor")
    assert doctor.code == 1 and "LOCI_PASSPHRASE" in doctor.out
    read_end, write_end = os.pipe()
    os.write(write_end, f"{PASSPHRASE}\n".encode())
    os.close(write_end)
    monkeypatch.setenv("LOCI_PASSPHRASE_FD", str(read_end))
    assert loci("memory", "list", "--json").json[0]["text"] == SECRET


def test_a_missing_package_is_named_with_the_extra(loci: Run, told: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sqlcipher3.dbapi2", None)
    monkeypatch.setenv("LOCI_PASSPHRASE", PASSPHRASE)
    ran = loci("encrypt", "--yes")
    assert ran.code == 1 and "loci-assistant[encryption]" in ran.err
    assert loci("memory", "list", "--json").json[0]["text"] == SECRET


def test_an_encrypted_profile_names_the_extra_where_it_is_missing(
    loci: Run, encrypted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("cryptography.exceptions", "cryptography.hazmat.primitives.ciphers.aead", "sqlcipher3.dbapi2"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    ran = loci("memory", "list")
    assert ran.code == 1 and "loci-assistant[encryption]" in ran.err and not ran.out


def test_the_doctor_names_what_is_not_encrypted_and_what_mends_it(loci: Run, encrypted: int) -> None:
    profile = locate_profile()
    cache = profile.cache / "vectors-1.faiss"
    cache.write_bytes(b"plain")
    found = next(one for one in loci("doctor", "--json").json if one["check"] == "encryption")
    assert found["state"] == "problem" and cache.name in found["detail"] and "--fix" in found["mend"]
    connect(profile.data / "other.db").execute("CREATE TABLE t (x)").connection.close()
    fixed = next(one for one in loci("doctor", "--fix", "--json").json if one["check"] == "encryption")
    assert not cache.exists() and "other.db" in fixed["detail"] and "loci restore" in fixed["mend"]


def test_a_slot_of_a_newer_version_is_named(loci: Run, encrypted: int) -> None:
    file = locate_profile().data / "encryption.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 2, "hardware": true'))
    ran = loci("memory", "list")
    assert ran.code == 2 and "newer version" in ran.err


def test_what_else_a_profile_has_goes_with_it_and_what_was_left_lying_does_not(told: int, home: Path) -> None:
    profile = locate_profile()
    kept = (profile.data / "notes" / "of.mine", profile.config / "templates" / "short.txt")
    for file in kept:
        file.parent.mkdir()
        file.write_text("kept")
    (profile.data / "link").symlink_to("notes/of.mine")
    (profile.data / "models").mkdir()
    (profile.data / "models" / "big.gguf").write_text("big")
    scraps = (profile.data / "loci-backup-killed" / "0", profile.data / "b.json.x.part", profile.config / "c.x.part")
    for file in scraps:
        file.parent.mkdir(exist_ok=True)
        file.write_text(SECRET)
    app.encryption.encrypt(profile, PASSPHRASE)
    assert all(file.read_text() == "kept" for file in (*kept, profile.data / "link"))
    assert (profile.data / "link").is_symlink() and (profile.data / "models" / "big.gguf").read_text() == "big"
    assert not any(file.exists() for file in scraps) and found(home) == []


def test_decrypting_brings_everything_back(loci: Run, encrypted: int, home: Path) -> None:
    assert loci("encrypt", "--yes").code == 2  # it is
    assert loci("decrypt", "--yes").code == 0
    assert NEEDLES[0] in all_bytes(home) and read_slot(locate_profile().data) is None
    assert loci("memory", "list", "--json").json[0]["text"] == SECRET
    assert loci("search", "anchors", "--json").json
    with Workspace.open() as opened:
        assert opened.library.check() == [] and opened.memory.check() == []
        assert opened.memory.add("Another", source=Source("command")).id == encrypted + 1  # numbers go on


def test_another_process_in_a_database_keeps_it_from_being_converted(
    told: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, close = os.pipe(), os.pipe()
    if not (child := os.fork()):  # in this process it would not tell: the two drivers know nothing of each other
        with Workspace.open() as other:
            other.memory.list()
            os.write(opened[1], b".")
            os.read(close[0], 1)
        os._exit(0)
    os.read(opened[0], 1)
    monkeypatch.setattr(app.encryption, "WAIT", 0.1)
    with pytest.raises(DatabaseProblem, match="in use"):
        app.encryption.encrypt(locate_profile(), PASSPHRASE)
    os.write(close[1], b".")
    os.waitpid(child, 0)
    with Workspace.open() as after:
        assert after.key is None and after.memory.list()[0].text == SECRET


@pytest.mark.parametrize(
    ("back", "step"), [(False, 0), (False, 1), (False, 3), (False, 4), (False, 5), (True, 2), (True, 5)]
)
def test_a_kill_while_converting_leaves_a_readable_profile(told: int, home: Path, step: int, back: bool) -> None:
    if back:
        app.encryption.encrypt(open_profile(), PASSPHRASE)
    else:
        shelves(open_profile()).mkdir()
        (shelves(open_profile()) / "read").write_text(SECRET)
    if not (child := os.fork()):
        killing(step)
        with_passphrase = Keys(lambda question: PASSPHRASE)
        if back:
            app.encryption.decrypt(locate_profile(), with_passphrase.of(locate_profile()))
        else:
            app.encryption.encrypt(locate_profile(), PASSPHRASE)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with Workspace.open() as opened:
        opened.keys.ask = lambda question: PASSPHRASE
        assert opened.memory.list()[0].text == SECRET and len(opened.library.documents()) == 2
        assert opened.memory.check() == [] and opened.library.check() == []
        converted = step >= 4  # from where the exchange counts
        assert (opened.key is not None) == (converted != back)
    if back != converted:  # it is encrypted: what was left lying was swept when it was opened
        assert found(home) == []
    assert not list((home / "data").glob(".default-re*"))


def test_of_two_that_encrypt_the_second_is_told_of_the_first(
    told: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = app.encryption.stop

    def overtaken(place: Place) -> None:
        monkeypatch.setattr(app.encryption, "stop", stop)
        app.encryption.encrypt(locate_profile(), PASSPHRASE)

    monkeypatch.setattr(app.encryption, "stop", overtaken)
    with pytest.raises(BadInput, match="Another process"):
        app.encryption.encrypt(locate_profile(), "another")


def test_a_conversion_under_way_is_no_scrap_to_others(told: int, home: Path) -> None:
    with app.swap.staging(locate_profile()) as staged:
        open_profile()
        assert staged["data"].exists() and staged["config"].exists()
    assert not list((home / "data").glob(".default-re*"))


def killing(step: int) -> None:
    """Have this process end at a moment: the copying, the verification, each renaming, the sweeping."""

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if step == 0:
        app.encryption._settle = die  # type: ignore[assignment]
        return
    renamed = 0
    original = Path.rename

    def rename(self: Path, target: Path) -> Path:
        nonlocal renamed
        renamed += 1
        if renamed == step:
            die()
        return original(self, target)

    Path.rename = rename  # type: ignore[method-assign, assignment]
    if step == 5:
        rmtree = shutil.rmtree

        def sweep(path: Path, **options: Any) -> None:
            if "-restoring-" in path.name:
                die()
            rmtree(path, **options)

        app.swap.shutil.rmtree = sweep  # type: ignore[assignment]


def test_a_deletion_for_good_is_proven_inside_the_encryption(
    loci: Run, encrypted: int, home: Path, tmp_path: Path
) -> None:
    key = Keys().of(locate_profile())
    assert key is not None
    data = locate_profile().data
    loci("backup", tmp_path / "b.zip")
    assert b"whimbrelonde" in inside(data / "memory.db", key)
    ran = loci("memory", "purge", encrypted, "--yes", "--json")
    [receipt] = ran.json
    assert ran.code == 0 and receipt["clean"] and receipt["backups"] == [str(tmp_path / "b.zip")]
    assert b"whimbrelonde" not in inside(data / "memory.db", key)
    assert loci("--profile", "second", "restore", tmp_path / "b.zip").code == 0
    assert b"whimbrelonde" not in inside(locate_profile("second").data / "memory.db", key)
    assert b"forty anchors" in inside(locate_profile("second").data / "library.db", key)


def test_a_trace_inside_the_encryption_is_found(encrypted: int, home: Path) -> None:
    from app.traces import every_file, search

    key = Keys().of(locate_profile())
    file = locate_profile().data / "memory.db"
    db = connect(file, key)
    db.execute("PRAGMA secure_delete = OFF")
    db.execute("CREATE TABLE scrap (a)")
    db.execute("INSERT INTO scrap VALUES ('Quibblestone Abbey')")
    db.execute("DROP TABLE scrap")
    left = search(every_file(locate_profile()), ["Quibblestone Abbey"], [], key).left
    assert any("memory.db" in one.place and not one.kept for one in left)
    db.close()


def test_the_journal_of_a_deletion_is_encrypted(loci: Run, encrypted: int, home: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.purge, "search", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert loci("memory", "purge", encrypted, "--yes").code == 130
    assert (locate_profile().data / "purge.journal").exists() and found(home) == []
    assert loci("decrypt", "--yes").code == 2  # a deletion is under way
    assert loci("doctor", "--fix").code == 0 and not (locate_profile().data / "purge.journal").exists()


def test_backups_of_an_encrypted_profile_are_encrypted_and_need_the_passphrase(
    loci: Run, encrypted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    file = tmp_path / "b.zip"
    assert loci("backup", file).code == 0
    with zipfile.ZipFile(file) as archive:
        packed = b"".join(archive.read(name) for name in archive.namelist()).lower()
    assert not any(needle in packed for needle in NEEDLES)
    monkeypatch.setenv("LOCI_PASSPHRASE", "another")
    assert loci("--profile", "second", "restore", file).code == 1
    monkeypatch.setenv("LOCI_PASSPHRASE", PASSPHRASE)
    assert loci("--profile", "second", "restore", file).code == 0
    assert loci("--profile", "second", "memory", "list", "--json").json[0]["text"] == SECRET


def test_a_passphrase_is_asked_for_where_those_that_were_given_do_not_fit(
    encrypted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCI_PASSPHRASE", "of another profile")
    asked: list[str] = []

    def typed(question: str) -> str:
        asked.append(question)
        return PASSPHRASE

    keys = Keys(typed)
    assert keys.of(locate_profile()) is not None and keys.of(locate_profile()) is not None
    assert len(asked) == 1 and "default" in asked[0]
    mistyped = Keys(lambda question: "eight rocks")
    with pytest.raises(WrongKey):
        mistyped.of(locate_profile())


def test_a_backup_from_before_is_named_and_purged_as_it_is(
    loci: Run, told: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "plain.zip"
    loci("backup", file)
    monkeypatch.setenv("LOCI_PASSPHRASE", PASSPHRASE)
    assert str(file) in loci("encrypt", "--yes").err
    [receipt] = loci("memory", "purge", told, "--yes", "--json").json
    assert receipt["clean"] and receipt["backups"] == [str(file)]


def test_the_keyring_opens_a_profile_without_a_passphrase(
    loci: Run, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keyring

    held: dict[tuple[str, str], str] = {}
    monkeypatch.setattr(keyring, "set_password", lambda service, name, secret: held.update({(service, name): secret}))
    monkeypatch.setattr(keyring, "get_password", lambda service, name: held.get((service, name)))
    monkeypatch.setattr(keyring, "delete_password", lambda service, name: held.pop((service, name)))
    monkeypatch.setenv("LOCI_PASSPHRASE", PASSPHRASE)
    assert loci("encrypt", "--keyring", "--yes").code == 0
    monkeypatch.delenv("LOCI_PASSPHRASE")
    assert loci("memory", "list", "--json").json[0]["text"] == SECRET
    assert loci("decrypt", "--yes").code == 0 and not held


def test_a_key_is_in_no_representation() -> None:
    assert repr(Key(b"\x01" * 32)) == "Key()"


@pytest.mark.parametrize(
    "damage",
    [
        {"salt": "zz"},
        {"salt": 5},
        {"salt": ""},
        {"sealed": "00"},
        {"sealed": "0"},
        {"cost": 1 << 40},
        {"cost": 3},
        {"cost": -1},
        {"cost": "x"},
    ],
)
def test_a_damaged_slot_is_named(loci: Run, encrypted: int, home: Path, damage: dict[str, object]) -> None:
    slot = home / "data" / "default" / "encryption.json"
    slot.write_text(json.dumps(json.loads(slot.read_text()) | damage))
    ran = loci("memory", "list")
    assert ran.code == 2 and "encryption.json is damaged" in ran.err


def test_a_passphrase_may_be_typed_composed_or_decomposed(
    loci: Run, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in ("NFC", "NFD"):
        monkeypatch.setenv("LOCI_PASSPHRASE", unicodedata.normalize(form, "grün, grün"))
        assert loci("encrypt" if form == "NFC" else "decrypt", "--yes").code == 0


def test_a_passphrase_that_is_not_utf_8_is_said_to_be_that(
    loci: Run, told: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passphrase").write_bytes("grün".encode("latin-1"))
    monkeypatch.setenv("LOCI_PASSPHRASE_FD", str(os.open(tmp_path / "passphrase", os.O_RDONLY)))
    ran = loci("encrypt", "--yes")
    assert ran.code == 2 and "not valid UTF-8" in ran.err


def test_a_changed_page_is_a_damaged_database_to_the_doctor(loci: Run, encrypted: int, home: Path) -> None:
    file = home / "data" / "default" / "memory.db"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    ran = loci("doctor")
    assert ran.code == 1 and "memory.db is damaged" in ran.out and "unexpectedly" not in ran.err
