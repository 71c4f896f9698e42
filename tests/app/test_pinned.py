"""A pinned document is read once: the next question, of another process, reads only what is new."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.answer import Answer, Ask
from app.pinned import forget, keep
from app.profile import shelves
from app.workspace import Workspace
from retrieval.ingest import ingest
from tests.app.fakes import FakeEmbedder
from tests.model.conftest import make_checkpoint

__all__ = ["make_checkpoint"]  # a fixture

Make = Callable[..., tuple[Path, Any]]
TEXT = "\n\n".join(f"Crate {n} of the harbour store holds {n * 7} anchors and a spare chain." for n in range(30))


@pytest.fixture
def folder(make_checkpoint: Make) -> Path:
    return make_checkpoint(3, max_position_embeddings=16384)[0]


@contextmanager
def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setattr(Workspace, "embedder", property(lambda self: FakeEmbedder()))
    flags = {"model.reference": str(folder), "assistant.prefill_seconds": 60, "memory.enabled": False}
    with Workspace.open(None, flags) as workspace:
        yield workspace


def ask(workspace: Workspace, question: str) -> Answer:
    return workspace.assistant().ask(Ask(question, store=False, max_tokens=8))


def cached(answer: Answer) -> int:
    return answer.usage.cached_tokens


def test_a_pinned_document_opens_every_prompt_and_is_read_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store.md").write_text(TEXT, "utf-8")
    (tmp_path / "other.md").write_text("The mill stands by the quay, and turns all night.", "utf-8")
    with opened(folder, monkeypatch) as workspace:
        ingest(workspace.library, [tmp_path / "store.md", tmp_path / "other.md"])
        document = workspace.library.document("store.md")
        assert keep(workspace, "main") is None
        workspace.library.pin(document.id, True)
        kept = keep(workspace, "main")
        assert kept is not None and kept > len(TEXT)
    with opened(folder, monkeypatch) as workspace:
        first = ask(workspace, "Where does the mill stand?")
        assert cached(first) == kept
        assert first.context.used.documents >= len(TEXT)
    with opened(folder, monkeypatch) as workspace:
        forget(workspace, "main")
        assert not list(shelves(workspace.profile).glob("*"))
        again = ask(workspace, "Where does the mill stand?")
        assert (again.answer, cached(again)) == (first.answer, 0)


def test_what_is_at_hand_takes_no_time_of_the_budget(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store.md").write_text(TEXT, "utf-8")
    with opened(folder, monkeypatch) as workspace:
        ingest(workspace.library, [tmp_path / "store.md"])
        workspace.library.pin(workspace.library.document("store.md").id, True)
        monkeypatch.setattr("app.prose.Rate.of", lambda self, engine: 25.0)  # 1500 tokens in the time that there is
        without = ask(workspace, "What does crate 7 hold?")
        assert without.context.used.documents == 0
        keep(workspace, "main")
        assert ask(workspace, "What does crate 7 hold?").context.used.documents > len(TEXT)


def test_unpinning_the_last_document_frees_the_disk(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store.md").write_text(TEXT, "utf-8")
    with opened(folder, monkeypatch) as workspace:
        ingest(workspace.library, [tmp_path / "store.md"])
        workspace.library.pin(workspace.library.document("store.md").id, True)
        assert keep(workspace, "main")
        workspace.library.pin(workspace.library.document("store.md").id, False)
        assert keep(workspace, "main") is None
        assert not list(shelves(workspace.profile).glob("*"))
