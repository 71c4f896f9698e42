"""What widgets and workers tell the chat. Small, frozen in spirit, and free of behaviour."""

from dataclasses import dataclass
from typing import Literal

from textual.message import Message

from app.answer import Citation, TurnEvent
from tui.backend import MemoryChange
from tui.failures import Failure
from tui.rows import DocumentRow
from tui.turns import Ending, TurnRun


@dataclass
class Composed(Message):
    """The user sent what stands in the input line."""

    text: str


@dataclass
class Pasted(Message):
    """The user pasted a text that is too long for the input line."""

    text: str


@dataclass
class TurnMoved(Message):
    """A turn reported something other than text."""

    run: TurnRun
    event: TurnEvent


@dataclass
class TextReady(Message):
    """A turn has text to show; take it with `run.take()`."""

    run: TurnRun


@dataclass
class TurnEnded(Message):
    run: TurnRun
    ending: Ending
    failure: Failure | None = None


@dataclass
class CitationChosen(Message):
    citation: Citation


@dataclass
class PageWanted(Message):
    """The page of a source on show is to be drawn, so many columns wide."""

    citation: Citation
    columns: int


@dataclass
class MemoryChanged(Message):
    """The user forgets, restores, pins or unpins a memory in the pane."""

    id: int
    change: MemoryChange


@dataclass
class MemoryEdited(Message):
    """The user wants to correct a memory's wording, which is now `text`."""

    id: int
    text: str


@dataclass
class WhyAsked(Message):
    """The user wants to know why a memory is there and was recalled."""

    id: int


DocumentDeed = Literal["show", "text", "file", "pin", "remove"]


@dataclass
class DocumentMeant(Message):
    """The user does something with a document in the library's pane; `show` is the cursor resting on it."""

    row: DocumentRow
    what: DocumentDeed


@dataclass
class AddMoved(Message):
    """Progress of reading files."""

    done: int
    total: int
    path: str
