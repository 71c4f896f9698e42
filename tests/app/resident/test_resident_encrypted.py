"""The resident of an encrypted profile: it holds the key in memory, and has it from the door by a pipe alone."""

from pathlib import Path

import pytest

import app.keys
from app.answer import Ask, Profile
from app.encryption import encrypt
from app.errors import Locked
from app.resident.client import Resident, status, stop
from app.resident.place import Place
from app.resident.workspace import ResidentWorkspace
from tests.app.resident.conftest import TALKER

PASSPHRASE = "seven grumbling rocks"


def test_the_resident_is_asked_for_the_key_once_it_has_it(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.keys, "COST", 1 << 4)
    encrypt(profile, PASSPHRASE)
    monkeypatch.setenv("LOCI_PASSPHRASE", PASSPHRASE)
    first = ResidentWorkspace(profile)
    first.__dict__["resident"] = Resident(
        profile, command=TALKER, secret=lambda: first.key.secret if first.key else b""
    )
    question = Ask("write hello")
    try:
        session = first.assistant().ask(question).session
        found = status(Place.of(profile))
        assert found is not None and first.key is not None
        process = Path(f"/proc/{found['pid']}")
        for told in ("environ", "cmdline"):
            said = (process / told).read_bytes()
            assert PASSPHRASE.encode() not in said and first.key.secret.hex().encode() not in said
        monkeypatch.delenv("LOCI_PASSPHRASE")
        with ResidentWorkspace(profile) as second:
            assert second.memory.turns(session or 0)[0].question == question.question
    finally:
        first.close()
        stop(Place.of(profile))
    with pytest.raises(Locked):
        _ = ResidentWorkspace(profile).key
