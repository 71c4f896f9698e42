"""The memory pane: what was recalled for the answer, what it left behind, and all else that is known."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from app.answer import UsedMemory
from tui.messages import MemoryChanged, MemoryEdited
from tui.rows import MemoryRow

EMPTY = "Nothing is remembered yet. Say “Remember that …” or /remember TEXT."


class MemoryPane(OptionList):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f,delete", "forget", "Forget or restore", show=False, id="memory.pane.forget"),
        Binding("p", "pin", "Pin or unpin", show=False, id="memory.pane.pin"),
        Binding("e", "edit", "Correct", show=False, id="memory.pane.edit"),
        Binding("u", "app.undo", "Undo the last change", show=False, id="memory.pane.undo"),
        Binding("escape", "app.close_side", "Close", show=False, id="memory.pane.close"),
    ]

    def __init__(self) -> None:
        super().__init__(id="memory")
        self._rows: dict[int, MemoryRow] = {}

    def show(self, rows: list[MemoryRow], recalled: tuple[UsedMemory, ...], new: frozenset[int]) -> None:
        """`recalled` for the last answer and `new` from this session stand first; keep the cursor where it was."""
        at = self.highlighted
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
        self.clear_options()
        self.add_options(options or [Option(EMPTY, disabled=True)])
        if at is not None and at < self.option_count:
            self.highlighted = at
        else:
            self.action_first()

    def _chosen(self) -> MemoryRow | None:
        if self.highlighted is None:
            return None
        id = self.get_option_at_index(self.highlighted).id
        return self._rows[int(id)] if id else None

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
        (f"\n   {' · '.join(fact for fact in facts if fact)}", "$foreground-muted"),
    )
