"""Profiles written by earlier versions open in this one, with all they hold."""

from pathlib import Path

import pytest

from app.backup import restore
from app.profile import locate_profile
from app.workspace import Workspace

KEPT = sorted((Path(__file__).parent / "profiles").glob("*.zip"))


def test_the_current_version_has_one() -> None:
    from importlib.metadata import version

    assert version("loci-assistant") in [file.stem for file in KEPT], "run tests/e2e/profiles/make.py"


@pytest.mark.parametrize("file", KEPT, ids=[file.stem for file in KEPT])
def test_a_kept_profile_opens(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCI_HOME", str(tmp_path))
    restore(file, locate_profile())
    with Workspace.open() as workspace:
        library, memory = workspace.library, workspace.memory
        titles = {Path(document.path).name: document for document in library.documents()}
        assert set(titles) == {"yard.md", "boats.csv"}
        assert "43 anchors" in library.text(titles["yard.md"].id)
        found = library.search("Who owns the Tern?", collections=["main"], limit=3)
        assert any("Osric Pym" in passage.text for passage in found)
        assert all(library.text(p.document)[p.start : p.end] == p.text for p in found)
        told = memory.recall("How long is my boat?", scopes=["main"])
        assert told and "9.4 metres" in told[0].memory.text
        assert [one.text for one in memory.list(states=("tombstone",))] == ["The shed is green."]
        (session,) = memory.sessions()
        assert [turn.question for turn in memory.turns(session.id)][-1] == "Who is the skipper of the Curlew?"
        assert "Ana Brandt" in memory.turns(session.id)[-1].answer
        assert not library.check() and not memory.check()
