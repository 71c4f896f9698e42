"""A pinned document is read once: the next question, of another process, reads only what is new."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.answer import Answer, Ask
from app.pinned import forget, forget_sessions, keep, label
from app.profile import shelves
from app.workspace import Workspace
from model.engine import SESSION
from model.shelves import Shelves
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
def opened(folder: Path, monkeypatch: pytest.MonkeyPatch, **model: Any) -> Iterator[Workspace]:
    monkeypatch.setattr(Workspace, "embedder", property(lambda self: FakeEmbedder()))
    flags = {"model.reference": str(folder), "assistant.prefill_seconds": 60, "memory.enabled": False}
    flags |= {f"model.{name}": value for name, value in model.items()}
    with Workspace.open(None, flags) as workspace:
        yield workspace


def ask(workspace: Workspace, question: str) -> Answer:
    return workspace.assistant().ask(Ask(question, store=False, max_tokens=8))


def cached(answer: Answer) -> int:
    return answer.usage.cached_tokens


def pinned(workspace: Workspace, folder: Path, **texts: str) -> None:
    """Documents of these names and texts, read and pinned."""
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text, "utf-8")
    ingest(workspace.library, [folder / f"{name}.md" for name in texts])
    for name in texts:
        workspace.library.pin(workspace.library.document(f"{name}.md").id, True)


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
        assert kept is not None and kept.tokens > len(TEXT)
    with opened(folder, monkeypatch) as workspace:
        first = ask(workspace, "Where does the mill stand?")
        assert cached(first) == kept.tokens
        assert first.context.used.documents >= len(TEXT)
    with opened(folder, monkeypatch) as workspace:
        forget(workspace, "main")
        assert not list(shelves(workspace.profile).glob("*"))
        again = ask(workspace, "Where does the mill stand?")
        assert (again.answer, cached(again)) == (first.answer, 0)


def test_what_is_at_hand_takes_no_time_of_the_budget(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(folder, monkeypatch) as workspace:
        pinned(workspace, tmp_path, store=TEXT)
        monkeypatch.setattr("app.prose.Rate.of", lambda self, engine: 25.0)  # 1500 tokens in the time that there is
        without = ask(workspace, "What does crate 7 hold?")
        assert without.context.used.documents == 0
        keep(workspace, "main")
        assert ask(workspace, "What does crate 7 hold?").context.used.documents > len(TEXT)


def test_unpinning_the_last_document_frees_the_disk(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(folder, monkeypatch) as workspace:
        pinned(workspace, tmp_path, store=TEXT)
        assert keep(workspace, "main")
        workspace.library.pin(workspace.library.document("store.md").id, False)
        assert keep(workspace, "main") is None
        assert not list(shelves(workspace.profile).glob("*"))


def test_a_document_that_was_unpinned_is_on_no_shelf_of_any_model(
    folder: Path, make_checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_checkpoint(2, max_position_embeddings=16384)[0]
    for model in (folder, other):
        with opened(model, monkeypatch) as workspace:
            pinned(workspace, tmp_path, store=TEXT, secret="The vault is behind the mill.\n" * 20)
            both = keep(workspace, "main")
    with opened(folder, monkeypatch) as workspace:
        workspace.library.pin(workspace.library.document("secret.md").id, False)
        one = keep(workspace, "main")
        assert one is not None and both is not None and one.tokens < both.tokens
        (shelf,) = Shelves(shelves(workspace.profile), 0).all()
        assert (shelf.label, shelf.tokens) == (label("main"), one.tokens)


def test_pinned_documents_that_do_not_fit_are_counted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(folder, monkeypatch, context=8000) as workspace:
        pinned(workspace, tmp_path, a=f"First.\n\n{TEXT}", b=f"Second.\n\n{TEXT}")
        kept = keep(workspace, "main")
        assert kept is not None and (kept.documents, kept.pinned) == (1, 2)
    with opened(folder, monkeypatch, context=512) as workspace:  # too small for any: what it cannot use does not stay
        assert keep(workspace, "main") is None
        assert not list(shelves(workspace.profile).glob("*"))


def test_conversations_are_forgotten_on_disk_and_those_that_are_open_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(workspace: Workspace) -> list[str]:
        return [shelf.label for shelf in Shelves(shelves(workspace.profile), 0).all()]

    (tmp_path / "store.md").write_text(TEXT, "utf-8")
    with opened(folder, monkeypatch, shelf_tokens=64) as workspace:
        ingest(workspace.library, [tmp_path / "store.md"])
        ask(workspace, "What does crate 7 hold?")
    assert kept(workspace) == [SESSION]
    with opened(folder, monkeypatch, shelf_tokens=64) as workspace:
        forget_sessions(workspace)  # no model is loaded for that
        assert not workspace.model_loaded and kept(workspace) == []
        ask(workspace, "What does crate 8 hold?")
        forget_sessions(workspace)
    assert kept(workspace) == []
