"""The lines that stay: session and scope above; model, speed and window below."""

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from app.answer import Window
from tui.rows import LibraryRow, ModelRow
from tui.widgets.window import gauge
from tui.words import count, held_words, model_line


class TopLine(Horizontal):
    def __init__(self) -> None:
        super().__init__(id="top")

    def compose(self) -> ComposeResult:
        yield Static("", id="session-title")
        yield Static("", id="scope")

    def show(
        self, title: str, scope: tuple[str, ...], library: LibraryRow | None, reading: tuple[int, int] | None = None
    ) -> None:
        """`reading`: files done, and in all (0 while they are counted), where some are being read."""
        self.query_one("#session-title", Static).update(Content.assemble((" Loci ", "bold reverse"), f" {title}"))
        known = f" · {count(library.documents, 'document')}" if library else ""
        if reading is not None:
            known += f" · reading {reading[0]:,} of {reading[1]:,}" if reading[1] else " · reading"
        self.query_one("#scope", Static).update(Content(f"in {', '.join(scope)}{known}"))


class StatusLine(Horizontal):
    def __init__(self) -> None:
        super().__init__(id="status")

    def compose(self) -> ComposeResult:
        yield Static("Loading the model…", id="model-line")
        yield Static("", id="gauge")

    def on_mount(self) -> None:
        self._model = ""
        self._held = ""

    def show_loading(self, words: str) -> None:
        self.query_one("#model-line", Static).update(Content(f"Loading the model: {words}"))

    def show_model(self, model: ModelRow | None) -> None:
        """None says that there is no model to answer."""
        self._model = model_line(model).replace(" parameters", "") if model else "No model could be loaded"
        self._held = self._held if model else ""
        self._show()

    def show_held(self, main: int | None, gpu: int) -> None:
        """Bytes that the process with the model takes."""
        self._held = held_words(main, gpu)
        self._show()

    def _show(self) -> None:
        name, *rest = self._model.split(" · ")  # what it takes comes before what is cut off at 80 columns
        self.query_one("#model-line", Static).update(Content(" · ".join(filter(None, (name, self._held, *rest)))))

    def show_window(self, window: Window | None, rate: float | None) -> None:
        speed = f"{rate:.0f} tok/s · " if rate else ""
        self.query_one("#gauge", Static).update(Content(speed + gauge(window) if window else ""))
