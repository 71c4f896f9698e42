"""Every action of the chat, once; keys, palette, help and slash commands are made from it.

An action's `run` names the method `action_<run>(argument)` of the chat. Ids are stable: key maps refer to them.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches

from textual.binding import Binding, BindingType


@dataclass(frozen=True, slots=True)
class Action:
    id: str
    title: str
    tooltip: str
    run: str
    keys: str = ""
    slash: str = ""
    argument: str = ""
    """What the slash command takes, as the help shows it; brackets where it may be left out."""
    footer: str = ""
    """The short name in the footer; empty keeps it out of there."""

    @property
    def needs_argument(self) -> bool:
        return bool(self.argument) and not self.argument.startswith("[")

    @property
    def usage(self) -> str:
        return f"/{self.slash} {self.argument}".strip() if self.slash else ""


ACTIONS: tuple[Action, ...] = (
    Action("help", "Help", "Keys and commands, for where you are", "help", "f1", "help", footer="Help"),
    Action(
        "pane.source", "Show a source", "The cited passage beside the answer", "source", "f2", "source", "[N]", "Source"
    ),
    Action(
        "pane.memory", "Show memories", "What was recalled and what is known", "memory", "f3", "memory", "", "Memory"
    ),
    Action(
        "pane.window",
        "Show the window",
        "What fills the model's context window",
        "window",
        "f4",
        "window",
        "",
        "Window",
    ),
    Action(
        "session.list", "Sessions", "Open, search or delete a session", "sessions", "f5", "sessions", "", "Sessions"
    ),
    Action(
        "pane.library",
        "Show the library",
        "The documents: look, filter, pin, remove",
        "library",
        "ctrl+l",
        "library",
        "[WORDS]",
        "Library",
    ),
    Action("session.new", "New session", "Leave this session and start another", "new_session", "ctrl+n", "new", ""),
    Action("session.rename", "Rename", "Give the session another title", "rename", slash="rename", argument="TITLE"),
    Action("session.tag", "Tag", "Give the session these tags, or none", "tag", slash="tag", argument="[WORDS]"),
    Action(
        "session.export",
        "Export",
        "Write the session to a file: .md, .html or .json",
        "export",
        slash="export",
        argument="[FILE]",
    ),
    Action(
        "session.continue",
        "Continue",
        "Open the session used last, or that one",
        "continue",
        slash="continue",
        argument="[ID]",
    ),
    Action("turn.stop", "Stop", "Stop answering or reading; keep what came", "stop", "escape"),
    Action("turn.earlier", "Mark an earlier turn", "Mark the turn before, for F6 to F9", "earlier_turn", "alt+up"),
    Action("turn.later", "Mark a later turn", "Mark the turn after, for F6 to F9", "later_turn", "alt+down"),
    Action(
        "turn.edit", "Edit the question", "Edit the question: a branch, what was stays", "edit", "f6", "edit", "[TEXT]"
    ),
    Action("turn.again", "Answer again", "Ask the same again, in a branch", "again", "f7", "again"),
    Action("turn.version", "Next version", "Show another branch of this question", "version", "f8", "version"),
    Action("turn.copy", "Copy the answer", "Copy the answer, or its Nth code block", "copy", "f9", "copy", "[N]"),
    Action("write.editor", "Write in your editor", "Write the question in $EDITOR", "editor", "ctrl+g", "editor"),
    Action(
        "write.history", "Earlier questions", "Search what was asked before", "history", "ctrl+r", "history", "[WORDS]"
    ),
    Action(
        "write.attach",
        "Attach a file",
        "Ask about a file that is not in the library",
        "attach",
        slash="attach",
        argument="PATH",
    ),
    Action("write.detach", "Detach", "Take away what is attached to questions", "detach", slash="detach"),
    Action("source.pager", "Source in a pager", "The whole text in $PAGER, at the quote", "pager", slash="pager"),
    Action("source.viewer", "Open the source", "Its file, in the desktop's viewer", "viewer", slash="open"),
    Action("turn.good", "Good answer", "Tell Loci that the last answer was right", "good", "alt+g", "good"),
    Action("turn.bad", "Bad answer", "Tell Loci that the last answer was wrong", "bad", "alt+b", "bad"),
    Action(
        "turn.correct", "Correct the answer", "Say what is right instead", "correct", slash="correct", argument="TEXT"
    ),
    Action(
        "library.remove",
        "Remove a document",
        "Take it out of the library (d7); its file stays",
        "remove",
        slash="remove",
        argument="DOC",
    ),
    Action(
        "memory.why", "Why a memory", "Where it comes from, and why it was recalled", "why", slash="why", argument="ID"
    ),
    Action("library.health", "Library's health", "Whether files and database are sound", "health", slash="health"),
    Action("library.add", "Add files", "Read a file or a folder into the library", "add", slash="add", argument="PATH"),
    Action(
        "library.collection",
        "Change collection",
        "Ask in other collections, newly",
        "collection",
        slash="in",
        argument="COLLECTION",
    ),
    Action("memory.remember", "Remember", "Store something about you", "remember", slash="remember", argument="TEXT"),
    Action(
        "memory.forget",
        "Forget a memory",
        "Forget the memory with this number",
        "forget",
        slash="forget",
        argument="[ID]",
    ),
    Action("memory.edit", "Change a memory", "Correct its wording", "change", slash="change", argument="ID TEXT"),
    Action("memory.undo", "Undo", "Take back the last change of a memory", "undo", "alt+z", "undo"),
    Action(
        "memory.off",
        "Memory off or on",
        "Recall and store nothing in this session, or do again",
        "memory_off",
        slash="off",
    ),
    Action(
        "memory.pin",
        "Pin",
        "Never forget a memory (7), or keep a document in the window (d7)",
        "pin",
        slash="pin",
        argument="[ID]",
    ),
    Action("model.show", "Model", "What the model is; or another, planned first", "model", "", "model", "[REF]"),
    Action(
        "look.theme",
        "Change the theme",
        "Choose other colours; the choice is kept",
        "theme",
        slash="theme",
        argument="[NAME]",
    ),
    Action("palette", "Command palette", "Every action by name", "command_palette", "ctrl+p", footer="Commands"),
    Action("quit", "Quit", "Exit the chat; the session is kept", "quit", "ctrl+q", "quit"),
)

BY_SLASH = {action.slash: action for action in ACTIONS if action.slash}

EDITING: tuple[tuple[str, str], ...] = (
    ("Enter", "Send the question"),
    ("Ctrl+J, Sh+Enter", "New line"),
    ("Up, Down", "Earlier questions"),
    ("Tab", "Complete a command, or move on"),
    ("PgUp, PgDn", "Scroll the conversation"),
)
"""Keys of the input line, which belong to it and are not remapped."""


TEXT_AREA = frozenset({"f6", "f7"})
"""Function keys that the input line would take for itself."""
_NEAR = 3
"""Commands that are named to who gave another."""


def bindings() -> list[BindingType]:
    """The application's key bindings; each has its action's id, so that `App.set_keymap` can change it."""
    return [
        Binding(
            action.keys,
            action.run,
            action.footer or action.title,
            show=bool(action.footer),
            tooltip=action.tooltip,
            id=action.id,
            priority=action.keys.startswith(("ctrl+", "alt+")) or action.keys in TEXT_AREA,
        )
        for action in ACTIONS
        if action.keys
    ]


def commands_like(text: str) -> list[Action]:
    """The slash commands that `text` (with its slash) begins, or the one that it names."""
    name = text.removeprefix("/").split(" ", 1)[0].casefold()
    if " " in text:
        return [BY_SLASH[name]] if name in BY_SLASH else []
    return [action for slash, action in BY_SLASH.items() if slash.startswith(name)]


def near(name: str, known: Collection[str] = BY_SLASH.keys()) -> str:
    """What helps who gave a command that there is none of: those whose words have its name, and those spelt alike."""

    def words(slash: str) -> list[str]:
        return re.findall(r"\w+", f"{BY_SLASH[slash].title} {BY_SLASH[slash].tooltip}".casefold())

    meant = [slash for slash in known if name in words(slash)]
    found = list(dict.fromkeys([*meant, *get_close_matches(name, known, _NEAR)]))[:_NEAR]
    named = ", ".join(f"/{slash}" for slash in found)
    return f"Near it: {named}. /help lists all." if found else "/help lists all."
