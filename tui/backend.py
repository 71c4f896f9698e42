"""What the chat needs from the rest of Loci.

Every method may block and is called in worker threads only. Errors are those of `app.errors.LociError`.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from app.answer import Ask, Citation, TurnEvent
from app.model_plan import PlanLines
from tui.rows import (
    AddedRow,
    DocumentRow,
    HealthRow,
    LibraryRow,
    MemoryRow,
    ModelRow,
    PastRow,
    PinnedRow,
    SessionRow,
    SourceRow,
    TurnMark,
    TurnRow,
)

if TYPE_CHECKING:
    from retrieval.readers.page import PagePicture

Progress = Callable[[int, int, str], bool]
"""(done, total, path) of reading files; returns False to stop after this file."""

Verdict = Literal["good", "bad", "correct"]
MemoryChange = Literal["forget", "restore", "pin", "unpin"]


class Backend(Protocol):
    def model(self, loading: Callable[[str], None]) -> ModelRow:
        """The model in use, loaded if it is not; `loading` is told how far that is."""
        ...

    def held(self) -> tuple[int | None, int]:
        """Bytes of main memory, where the system tells, and of GPUs that the process with the model takes."""
        ...

    def models(self) -> list[str]:
        """References of the models at hand."""
        ...

    def plan(self, reference: str) -> PlanLines:
        """Whether a model fits here, and what it would take; loads nothing."""
        ...

    def use_model(self, reference: str, loading: Callable[[str], None]) -> ModelRow:
        """Load another model in place of the one in use, which stays where that fails."""
        ...

    def library(self, scope: Sequence[str]) -> LibraryRow: ...

    def documents(self, scope: Sequence[str]) -> list[DocumentRow]: ...

    def document_text(self, document: str) -> str:
        """The whole text that was read from a document, by id.

        :raises RetrievalError: it is there no more.
        """
        ...

    def remove_document(self, document: str) -> None:
        """Take a document out of the library, by id; its file stays."""
        ...

    def pin_document(self, document: str, on: bool | None = None) -> DocumentRow:
        """Give a document whole to every question, or no longer; None turns it over. By id, path or end of a path."""
        ...

    def keep_pinned(self, collection: str) -> PinnedRow | None:
        """Have the model read the pinned documents now, so that no question waits for it; None where none can be."""
        ...

    def health(self, scope: Sequence[str]) -> HealthRow: ...

    def turn(self, ask: Ask) -> Generator[TurnEvent, None, None]:
        """The events of one turn; closing the generator cancels it and keeps what came."""
        ...

    def source(self, citation: Citation) -> SourceRow: ...

    def page(self, citation: Citation, width: int) -> "PagePicture":
        """The cited page of a PDF, `width` pixels across, the quote marked.

        :raises RetrievalError: its file is gone, was changed, or cannot be drawn.
        """
        ...

    def text(self, citation: Citation) -> str:
        """The whole text of a citation's document, or of what was attached here.

        :raises RetrievalError: it is there no more.
        """
        ...

    def start_session(self, scope: str, title: str) -> int | None:
        """A new session's id; None where nothing is stored."""
        ...

    def sessions(self, words: str = "") -> list[SessionRow]:
        """Latest first; with words, those in which they were said."""
        ...

    def turns(self, session: int, through: int | None = None) -> list[TurnRow]:
        """The branch of the turn asked last, or the one that leads through the turn `through` and on from it."""
        ...

    def marks(self, session: int) -> Mapping[int, TurnMark]:
        """Every turn of a session, by its number."""
        ...

    def past(self) -> PastRow: ...

    def change_session(self, session: int, title: str | None = None, tags: Sequence[str] | None = None) -> SessionRow:
        """Another title, other tags; None leaves them."""
        ...

    def export(self, session: int, upto: int, file: Path) -> None:
        """Write the branch that leads to the turn `upto` in the form of the file's ending; the file must be new."""
        ...

    def delete_session(self, session: int) -> None: ...

    def memories(self, scope: Sequence[str]) -> list[MemoryRow]: ...

    def why(self, id: int) -> list[str]:
        """Lines on where a memory came from, what it was used for, and why it is kept."""
        ...

    def remember(self, text: str, scope: str) -> MemoryRow: ...

    def edit_memory(self, id: int, text: str) -> MemoryRow:
        """The memory that takes its place, or itself where nothing changed; the old one can be restored."""
        ...

    def change_memory(self, id: int, change: MemoryChange) -> None: ...

    def feedback(self, turn: int | None, verdict: Verdict, text: str | None = None) -> None: ...

    def add(self, paths: Sequence[Path], collection: str, progress: Progress) -> AddedRow:
        """Read files and folders into a collection."""
        ...

    def read(self, path: Path) -> str:
        """The text of a file of any kind that the library takes; nothing is stored.

        :raises RetrievalError: it cannot be read.
        """
        ...

    def keep_theme(self, name: str) -> None:
        """Write the choice of a theme into the settings."""
        ...
