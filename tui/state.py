"""What the chat knows between two events: where it is, and what the last turn brought."""

from dataclasses import dataclass, field
from pathlib import Path

from app.answer import UsedMemory, Window
from tui.backend import MemoryChange
from tui.rows import AnswerRow, DocumentRow, LibraryRow, ModelRow
from tui.turns import TurnRun
from tui.widgets.notice import Notice
from tui.widgets.turn import TurnView

UNTITLED = "New session"


@dataclass
class Talk:
    """One session as it stands on the screen."""

    scope: tuple[str, ...]
    session: int | None = None
    title: str = UNTITLED
    off: bool = False
    """The memory is off: nothing is recalled and nothing stored."""
    attached: tuple[tuple[str, str], ...] = ()
    """(name, text) of what was pasted, asked about until it is detached."""
    view: TurnView | None = None
    """The turn under way; None when there is none, or when the user left its session."""
    answer: AnswerRow | None = None
    """The last answer."""
    editing: TurnView | None = None
    """The turn whose question stands in the input line, to be asked otherwise."""
    window: Window | None = None
    recalled: tuple[UsedMemory, ...] = ()
    new: frozenset[int] = frozenset()
    """Memories that this session stored."""


@dataclass(frozen=True)
class Undo:
    """How a change of a memory is taken back: changes in order, and what is said then."""

    said: str
    changes: tuple[tuple[int, MemoryChange], ...]


@dataclass
class Adding:
    """Files being read in the background."""

    notice: Notice
    stopped: bool = False
    done: int = 0
    total: int = 0
    """Files, of which `done` are read; 0 while they are counted."""


@dataclass
class State:
    talk: Talk
    run: TurnRun | None = None
    """The turn that occupies the model; it outlives its session's place on the screen until it has ended."""
    adding: Adding | None = None
    to_add: list[Path] = field(default_factory=list)
    """What waits until these are read."""
    documents: list[DocumentRow] = field(default_factory=list)
    """in scope, as the library's pane was last shown them"""
    undos: list[Undo] = field(default_factory=list)
    """Of this chat, the latest last."""
    library: LibraryRow | None = None
    model: ModelRow | None = None
    beside: bool = True
    """Open the first source beside each answer, where there is room; off once the user closed it."""
