"""One turn of the conversation: question, stage, reasoning, answer, citations, and what to know about the answer."""

from contextlib import suppress
from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.content import Content
from textual.css.query import NoMatches
from textual.widgets import Collapsible, Static

from app.answer import Citation, Started
from tui.messages import CitationChosen
from tui.rows import AnswerRow, TurnMark, TurnRow
from tui.turns import Ending
from tui.widgets.bare import BareVertical
from tui.widgets.sources import Sources
from tui.words import STAGE_WORDS, clipped, count, marked

if TYPE_CHECKING:
    from textual.widgets import Markdown

    from tui.widgets.answer import Answer

STOPPED = "Stopped. What came before is kept."


class TurnView(BareVertical):
    """Built empty for a live turn, or from a `TurnRow`; the chat calls it as the turn goes on.

    A chat or session that is left takes the turn's parts away while a call waits for one of them: each call then ends
    quietly.
    """

    def __init__(self, question: str, stored: TurnRow | None = None) -> None:
        super().__init__(classes="turn")
        self.question = question
        self.turn = stored.id or None if stored else None
        """Its number in the store; None while it has none, and where nothing is stored."""
        self.mark = stored.mark if stored else TurnMark(0)
        self.answer: AnswerRow | None = None
        self.streamed = ""
        self._stored = stored
        self._reasoning = ""
        self._thoughts: tuple[Collapsible, Static] | None = None
        """What folds the reasoning, and what holds its text."""

    def compose(self) -> ComposeResult:
        """What every turn has; its other parts are mounted once there is something to say."""
        from tui.widgets.answer import Answer  # 0.05 s, the first time

        yield Static(Content(self.question), classes="question")
        if self._stored is None:
            yield Static("", classes="stage")
        yield Answer()

    async def on_mount(self) -> None:
        self.show_mark(self.mark)
        if self._stored is None:
            self.stage(Started("recall"))
        elif self._stored.answer is not None and self._stored.complete:
            await self.complete(self._stored.answer)
        else:
            await self.end("cancelled", self._stored.text)

    @property
    def _answer(self) -> "Answer":
        """:raises NoMatches: while the turn is taken away"""
        return cast("Answer", self.query_one(".answer"))

    def show_mark(self, mark: TurnMark) -> None:
        """Say which version of its question this is, where there are several."""
        self.mark = mark
        many, number = len(mark.versions), self.turn
        at = mark.versions.index(number) + 1 if number in mark.versions else 0
        self._say("versions", f"‹{at}/{many}›  version {at} of {many} · F8 shows the next" if many > 1 and at else "")

    @property
    def row(self) -> TurnRow:
        """All that it takes to show it again, once it is over."""
        return TurnRow(self.turn or 0, self.question, self.said, self.answer is not None, self.answer, self.mark)

    @property
    def said(self) -> str:
        """The answer as it stands, without marks of Markdown links."""
        return self.answer.text if self.answer else self.streamed

    def stage(self, started: Started) -> None:
        """Say what the turn is doing, with numbers where it can tell."""
        done = f" {started.done:,} of {started.total:,}" if started.total else ""
        self._say("stage", f"{STAGE_WORDS[started.stage]}{done}…")

    def stopping(self) -> None:
        self._say("stage", "Stopping…")

    async def stream(self, answer: str, reasoning: str) -> None:
        """Append streamed text; costs one update however much it is."""
        self.streamed += answer
        with suppress(NoMatches):
            if reasoning:
                self._reason(self._reasoning + reasoning)
            if answer:
                await self._answer.write(answer)

    async def complete(self, answer: AnswerRow, remembered: tuple[tuple[int, str], ...] = ()) -> None:
        """Show the checked answer in place of what was streamed."""
        self.answer = answer
        with suppress(NoMatches):
            await self._settle(marked(answer.text, answer.citations, answer.unsupported))
            if answer.reasoning:
                self._reason(answer.reasoning)
            if answer.citations:
                await self.mount(Sources(answer.citations))
            self._say("remarks", _remarks(answer, remembered))

    async def end(self, ending: Ending, partial: str | None = None) -> None:
        """The turn ended without an answer; what was streamed stays."""
        self.streamed = self.streamed if partial is None else partial
        with suppress(NoMatches):
            await self._settle(self.streamed)
            self.set_class(ending == "cancelled", "-stopped")
            self._say("remarks", STOPPED if ending == "cancelled" else "")

    async def _settle(self, text: str) -> None:
        await self._answer.settle(text)
        self._say("stage", "")

    def _reason(self, text: str) -> None:
        self._reasoning = text
        title = f"Reasoning ({count(len(text.split()), 'word')})"
        if self._thoughts is None:
            held = Static(Content(text), classes="reasoning")
            self._thoughts = Collapsible(held, title=title, classes="thoughts"), held
            self.mount(self._thoughts[0], before=self._answer)
        else:
            folded, held = self._thoughts
            folded.title = title
            held.update(Content(text))

    def _say(self, part: str, text: str | Content) -> None:
        content = text if isinstance(text, Content) else Content(text)
        line = next(iter(self.query(f".{part}").results(Static)), None)
        if line is not None:
            line.update(content)
            line.set_class(bool(content), "-some")
        elif content:
            line = Static(content, classes=f"{part} -some")
            self.mount(line, after=".question" if part == "versions" else None)

    def has(self, citation: Citation) -> bool:
        return self.answer is not None and any(citation is own for own in self.answer.citations)

    def citation(self, n: int) -> Citation | None:
        citations = self.answer.citations if self.answer else ()
        return next((citation for citation in citations if citation.n == n), None)

    def on_markdown_link_clicked(self, event: "Markdown.LinkClicked") -> None:
        scheme, _, number = event.href.partition(":")
        citation = self.citation(int(number)) if scheme == "cite" and number.isdigit() else None
        if citation is not None:
            event.stop()
            self.post_message(CitationChosen(citation))


def _remarks(answer: AnswerRow, remembered: tuple[tuple[int, str], ...]) -> Content:
    """What the reader must know, then figures, each on its line."""
    lines: list[Content] = []
    if answer.abstained:
        lines.append(Content.assemble(("✗ No answer. ", "bold"), answer.reason or "Nothing in scope supports one."))
    elif not answer.grounded and answer.reason:
        lines.append(Content.assemble(("! Not grounded. ", "bold"), answer.reason))
    if answer.unsupported:
        lines.append(
            Content(f"! {count(len(answer.unsupported), 'statement')} without a source, marked in the answer.")
        )
    if answer.query:
        lines.append(Content.assemble(("Query: ", "bold"), answer.query))
    for id, text in remembered:
        lines.append(
            Content.assemble((f"+ Remembered #{id}: ", "bold"), clipped(text, 160), f"  (/forget {id} undoes it)")
        )
    figures = [f"confidence {answer.confidence:.0%}"] if answer.confidence is not None and not answer.abstained else []
    figures += [f"{answer.seconds:.1f} s"] if answer.seconds else []
    figures += [f"{answer.rate:.0f} tokens/s"] if answer.rate else []
    figures += [f"{answer.acceptance:.0%} of drafts kept"] if answer.acceptance is not None else []
    used = sum(memory.cited for memory in answer.memories)
    figures += [count(used, "memory", "memories") + " used"] if used else []
    if figures:
        lines.append(Content.styled(" · ".join(figures), "$foreground-muted"))
    return Content("\n").join(lines)
