"""An answer as Markdown, first as it streams in, then as it stays. Imported with the first turn, not for the prompt:
Textual's Markdown and its parser take 0.05 s."""

from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownStream

from tui.mathematics import readable
from tui.widgets.bare import empty_lines


class Answer(Markdown):
    render_lines = empty_lines

    def __init__(self) -> None:
        super().__init__(classes="answer", open_links=False)
        self._stream: MarkdownStream | None = None

    async def write(self, text: str) -> None:
        """Append what was streamed."""
        if self._stream is None:
            self._stream = Markdown.get_stream(self)
        await self._stream.write(text)

    async def settle(self, text: str) -> None:
        """Show a text in place of all that was streamed."""
        if self._stream is not None:
            await self._stream.stop()
            self._stream = None
        await self.update(readable(text))
