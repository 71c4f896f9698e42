"""The citations of one answer, listed under it; Enter opens the passage."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from app.answer import Citation
from tui.messages import CitationChosen
from tui.words import STATUS_WORDS, clipped, listed_place

QUOTED = 100
"""Characters of a quote in the list; the source's pane shows all of it."""


def distinct(citations: tuple[Citation, ...]) -> tuple[Citation, ...]:
    """One citation for each number, in order: a source that is marked twice is listed once."""
    return tuple(
        {citation.n: citation for citation in reversed(citations)}[n] for n in sorted({c.n for c in citations})
    )


class Sources(OptionList):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.to_composer", "Back", show=False)]

    def __init__(self, citations: tuple[Citation, ...]) -> None:
        self.citations = distinct(citations)
        width = max(len(STATUS_WORDS[citation.status]) for citation in citations)
        super().__init__(
            *(Option(_line(citation, width)) for citation in self.citations), classes="sources", compact=True
        )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(CitationChosen(self.citations[event.option_index]))


def _line(citation: Citation, width: int) -> Content:
    status = f"{STATUS_WORDS[citation.status]:<{width}}"
    style = {"verified": "$text-success", "repaired": "$text-warning"}.get(citation.status, "$text-error bold")
    return Content.assemble(
        (f"[{citation.n}] ", "bold"),
        (f"{status}  ", style),
        (citation.title or citation.path, ""),
        (f"  {listed_place(citation)}", "$foreground-muted"),
        (f": “{clipped(citation.quote, QUOTED)}”" if citation.quote else "", "$foreground-muted"),
    )
