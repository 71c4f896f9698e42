"""What the plain chat knows between two lines."""

from dataclasses import dataclass, field

from app.answer import Window
from tui.backend import MemoryChange
from tui.rows import AnswerRow


@dataclass
class Turn:
    id: int
    """Its number in the store; 0 while it has none."""
    question: str


@dataclass
class Plain:
    scope: tuple[str, ...]
    session: int | None = None
    off: bool = False
    """Nothing is recalled and nothing stored."""
    path: list[Turn] = field(default_factory=list)
    """The turns of the branch, the first one first."""
    attached: tuple[tuple[str, str], ...] = ()
    answer: AnswerRow | None = None
    """The last one."""
    window: Window | None = None
    undos: list[tuple[tuple[int, MemoryChange], ...]] = field(default_factory=list)
