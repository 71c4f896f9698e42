"""The memory pane: what was recalled for the answer, what it left behind, and all else that is known."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from app.answer import UsedMemory
from tui.messages import MemoryChanged, MemoryEdited, WhyAsked
from tui.rows import MemoryRow

EMPTY = "Nothing is remembered yet. Say “Remember that …” or /remember TEXT."


class MemoryPane(Vertical):
    """The list, and under it, once asked for, why the memory under the cursor is there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f,delete", "forget", "Forget or restore", show=False, id="memory.pane.forget"),
        Binding("p", "pin", "Pin or unpin", show=False, id="memory.pane.pin"),
        Binding("e", "edit", "Correct", show=False, id="memory.pane.edit"),
        Binding("u", "app.undo", "Undo the last change", show=False, id="memory.pane.undo"),
        Binding("w", "why", "Why it is there, and how it scored", show=False, id="memory.pane.why"),
        Binding("escape", "app.close_side", "Close", show=False, id="memory.pane.close"),
    ]

    def __init__(self) -> None:
        super().__init__(id="memory")
        self._rows: dict[int, MemoryRow] = {}

    def compose(self) -> ComposeResult:
        yield OptionList(id="memory-list")
        with VerticalScroll(id="memory-why", can_focus=False):
            yield Static("", id="memory-reasons")

    def show(self, rows: list[MemoryRow], recalled: tuple[UsedMemory, ...], new: frozenset[int]) -> None:
        """`recalled` for the last answer and `new` from this session stand first; the cursor stays on its memory."""
        memories = self.query_one(OptionList)
        at, before = memories.highlighted, self._chosen()
        self._rows = {row.id: row for row in rows}
        used = {memory.id: memory for memory in recalled}
        groups = (
            ("Recalled for this answer", [row for row in rows if row.id in used]),
            ("Remembered in this session", [row for row in rows if row.id in new and row.id not in used]),
            ("All else that is known", [row for row in rows if row.id not in used and row.id not in new]),
        )
        options: list[Option] = []
        for title, members in groups:
            if members:
                options.append(Option(Content.styled(title, "bold underline"), disabled=True))
                options += [Option(_line(row, used.get(row.id)), id=str(row.id)) for row in members]
        memories.clear_options()
        memories.add_options(options or [Option(EMPTY, disabled=True)])
        if before is not None and before.id in self._rows:
            memories.highlighted = memories.get_option_index(str(before.id))
        elif at is not None and at < memories.option_count:
            memories.highlighted = at
        else:
            memories.action_first()

    def _chosen(self) -> MemoryRow | None:
        memories = self.query_one(OptionList)
        if memories.highlighted is None:
            return None
        id = memories.get_option_at_index(memories.highlighted).id
        return self._rows.get(int(id)) if id else None

    @on(OptionList.OptionSelected)
    def action_why(self) -> None:
        """Open the reasons, or close them."""
        if self.has_class("-why"):
            self.remove_class("-why")
        elif (row := self._chosen()) is not None:
            self.add_class("-why")
            self.post_message(WhyAsked(row.id))

    @on(OptionList.OptionHighlighted)
    def _follow(self) -> None:
        if self.has_class("-why") and (row := self._chosen()) is not None:
            self.post_message(WhyAsked(row.id))

    def show_why(self, id: int, lines: list[str]) -> None:
        if (row := self._chosen()) is not None and row.id == id:
            told = Content.assemble((f"Why #{id}\n", "bold"), "\n".join(lines))
            self.query_one("#memory-reasons", Static).update(told)
            self.query_one("#memory-why").scroll_home(animate=False)

    def action_forget(self) -> None:
        if (row := self._chosen()) is not None:
            self.post_message(MemoryChanged(row.id, "restore" if row.state == "tombstone" else "forget"))

    def action_edit(self) -> None:
        if (row := self._chosen()) is not None:
            self.post_message(MemoryEdited(row.id, row.text))

    def action_pin(self) -> None:
        if (row := self._chosen()) is not None:
            self.post_message(MemoryChanged(row.id, "unpin" if row.pinned else "pin"))


def _line(row: MemoryRow, used: UsedMemory | None) -> Content:
    forgotten = row.state == "tombstone"
    facts = [row.kind, row.why]
    if used is not None:
        facts.insert(0, f"score {used.score:.2f}" + (", used in the answer" if used.cited else ""))
    if row.pinned:
        facts.insert(0, "pinned")
    if forgotten:
        facts.insert(0, "forgotten, f restores it")
    elif row.state != "active":
        facts.insert(0, row.state)
    return Content.assemble(
        (f"#{row.id} ", "bold"),
        (row.text, "dim strike" if forgotten else ""),
        f"\n   {' · '.join(fact for fact in facts if fact)}",  # muted, it could not be read under the cursor
    )
