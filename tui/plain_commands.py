"""The commands of the plain chat: the full chat's, as far as they need no screen."""

from collections.abc import Callable
from pathlib import Path

from app.errors import BadInput
from tui.backend import Backend, MemoryChange, Verdict
from tui.keymap import BY_SLASH
from tui.outside import edited, paged, viewed
from tui.plain_state import Plain, Turn
from tui.plain_words import (
    answer_lines,
    document_line,
    help_lines,
    memory_line,
    session_line,
    source_lines,
    window_lines,
)
from tui.rows import SessionRow
from tui.words import added_line, count, held_words, model_line, model_note

LISTED = 20
"""Rows of a list; words narrow it."""
AGAIN = 0.7
"""Temperature of an answer that is asked for again: at 0 a model says the same."""
OPPOSITE: dict[MemoryChange, MemoryChange] = {
    "forget": "restore",
    "restore": "forget",
    "pin": "unpin",
    "unpin": "pin",
}


class PlainCommands:
    """Each takes the text after its name, and says what it did."""

    def __init__(
        self,
        backend: Backend,
        state: Plain,
        say: Callable[[str], None],
        note: Callable[[str], None],
        *,
        typed: bool,
    ) -> None:
        self.backend, self.state, self.say, self.note = backend, state, say, note
        self.typed = typed
        self.commands: dict[str, Callable[[str], None]] = {
            name.removeprefix("do_"): getattr(self, name) for name in dir(self) if name.startswith("do_")
        } | {"in": self._collection}
        assert self.commands.keys() <= BY_SLASH.keys()

    def ask(self, question: str, after: int | None = None, seed: int = 0, heat: float = 0.0) -> None:
        raise NotImplementedError

    def do_help(self, argument: str) -> None:
        self.note(
            "\n".join(help_lines([BY_SLASH[name] for name in BY_SLASH if name in self.commands or name == "quit"]))
        )

    # --- turns

    def do_again(self, argument: str) -> None:
        if (last := self._last()) is not None:
            self.ask(last.question, self._before(), seed=max(len(self._versions()), 1), heat=AGAIN)

    def do_edit(self, argument: str) -> None:
        """`/edit TEXT` asks that instead of the last question, in a branch; without it, the editor opens."""
        if (last := self._last()) is not None and (question := argument or self._edited(last.question)):
            self.ask(question, self._before())

    def do_editor(self, argument: str) -> None:
        if question := self._edited(argument):
            self.ask(question)

    def _edited(self, text: str) -> str:
        """Another text from the user's editor; empty where it was left empty or as it was."""
        if not self.typed:  # it would read the lines that are still to come
            raise BadInput("An editor needs a terminal.", "Give a line with the question, or /edit TEXT.")
        question = edited(text).strip()
        if question in ("", text):
            self.note("Nothing was asked: there was no other question in the editor.")
            return ""
        return question

    def do_version(self, argument: str) -> None:
        last, versions, session = self._last(), self._versions(), self.state.session
        if last is None or session is None or len(versions) < 2:
            self.note("There is one version. /edit TEXT asks otherwise in a branch, /again asks the same.")
            return
        number = (versions.index(last.id) + 1) % len(versions)
        self.note(f"Version {number + 1} of {len(versions)}.")
        self.open(session, versions[number])

    def _last(self) -> Turn | None:
        if not self.state.path:
            self.note("There is no question yet.")
            return None
        return self.state.path[-1]

    def _before(self) -> int:
        """The turn before the last one; 0 where there is none."""
        return self.state.path[-2].id if len(self.state.path) > 1 else 0

    def _versions(self) -> tuple[int, ...]:
        last, session = self.state.path[-1:], self.state.session
        marks = self.backend.marks(session) if last and session is not None else {}
        return marks[last[0].id].versions if last and last[0].id in marks else ()

    def do_attach(self, argument: str) -> None:
        path = Path(argument.strip("'\"")).expanduser()
        text = self.backend.read(path)
        self.state.attached += ((path.name, text),)
        self.note(f"Attached {path.name}, {count(len(text), 'character')}. /detach takes it away.")

    def do_detach(self, argument: str) -> None:
        self.state.attached = ()
        self.note("Nothing is attached.")

    def _judge(self, verdict: Verdict, text: str | None = None) -> None:
        if self.state.answer is None:
            self.note("There is no answer to judge yet.")
            return
        self.backend.feedback(self.state.answer.turn, verdict, text)
        self.note("Noted.")

    def do_good(self, argument: str) -> None:
        self._judge("good")

    def do_bad(self, argument: str) -> None:
        self._judge("bad")

    def do_correct(self, argument: str) -> None:
        self._judge("correct", argument)

    # --- sources and window

    def do_source(self, argument: str) -> None:
        citations = self.state.answer.citations if self.state.answer else ()
        wanted = int(argument) if argument.isdigit() else 1
        one = next((citation for citation in citations if citation.n == wanted), None)
        if one is None:
            self.note(f"The last answer has no source {wanted}.")
        else:
            self.say("\n".join(source_lines(self.backend.source(one))))

    def do_pager(self, argument: str) -> None:
        citations = self.state.answer.citations if self.state.answer else ()
        if citations:
            paged(self.backend.text(citations[0]), citations[0].line)

    def do_open(self, argument: str) -> None:
        citations = self.state.answer.citations if self.state.answer else ()
        if citations:
            viewed(citations[0].path)

    def do_window(self, argument: str) -> None:
        if self.state.answer is None:
            self.note("The window is empty.")
        else:
            self.note("\n".join(window_lines(self.state.answer)))

    # --- sessions

    def do_new(self, argument: str) -> None:
        self._leave_for(self.state.scope)
        self.note("A new session.")

    def _collection(self, argument: str) -> None:
        self._leave_for(tuple(dict.fromkeys(argument.replace(",", " ").split())))
        found = self.backend.library(self.state.scope)
        self.note(f"In {', '.join(self.state.scope)}: {count(found.documents, 'document')}.")

    def _leave_for(self, scope: tuple[str, ...]) -> None:
        self.state = Plain(scope, off=self.state.off, undos=self.state.undos)

    def do_sessions(self, argument: str) -> None:
        rows = self.backend.sessions(argument)
        lines = [session_line(row) for row in rows[:LISTED]] or ["No session has these words."]
        self.note("\n".join([*lines, "/continue ID opens one."]))

    def do_continue(self, argument: str) -> None:
        rows = self.backend.sessions()
        row = next((row for row in rows if not argument or str(row.id) == argument), None)
        if row is None:
            self.note("There is no such session. /sessions lists them.")
            return
        self._leave_for((row.scope,))
        self.open(row.id)
        self.note(f"Continuing “{row.title}”, {count(row.turns, 'turn')}.")

    def open(self, session: int, through: int | None = None) -> None:
        """Stand at the end of a session, or of the branch through a turn, and say its last turn."""
        turns = self.backend.turns(session, through)
        self.state.session = session
        self.state.path = [Turn(turn.id, turn.question) for turn in turns]
        self.state.answer = next((turn.answer for turn in reversed(turns) if turn.answer), None)
        if turns:
            last = turns[-1]
            self.say(f"You asked: {last.question}")
            self.say("\n".join(answer_lines(last.answer) if last.answer else [last.text, "It was stopped there."]))

    def do_rename(self, argument: str) -> None:
        self._change(argument, None)

    def do_tag(self, argument: str) -> None:
        self._change(None, argument.replace(",", " ").split())

    def _change(self, title: str | None, tags: list[str] | None) -> None:
        if self.state.session is None:
            self.note("Nothing of this session is stored yet.")
        else:
            row: SessionRow = self.backend.change_session(self.state.session, title, tags)
            self.note(session_line(row))

    def do_export(self, argument: str) -> None:
        session, upto = self.state.session, self.state.path[-1].id if self.state.path else 0
        if session is None or not upto:
            self.note("Nothing of this session is stored, so there is nothing to export.")
            return
        file = Path(argument.strip("'\"") or f"loci-{session}.md").expanduser().absolute()
        self.backend.export(session, upto, file)
        self.note(f"Written: {file}")

    # --- memories

    def do_memory(self, argument: str) -> None:
        recalled = frozenset(memory.id for memory in self.state.answer.memories) if self.state.answer else frozenset()
        rows = self.backend.memories(self.state.scope)
        rows.sort(key=lambda row: row.id not in recalled)
        lines = [memory_line(row, recalled) for row in rows[:LISTED]] or ["Nothing is remembered yet."]
        self.note("\n".join([*lines, *([f"… and {len(rows) - LISTED} more"] if len(rows) > LISTED else [])]))

    def do_why(self, argument: str) -> None:
        number = argument.removeprefix("#")
        if not number.isdigit():
            self.note("/why ID tells where a memory comes from; /memory lists them.")
            return
        self.note("\n".join(self.backend.why(int(number))))

    def do_remember(self, argument: str) -> None:
        row = self.backend.remember(argument, self.state.scope[0])
        self.state.undos.append(((row.id, "forget"),))
        self.note(f"Remembered as {row.id}: {row.text}")

    def do_forget(self, argument: str) -> None:
        self._change_memory(argument, "forget", "Forgot {}. /undo brings it back.")

    def do_pin(self, argument: str) -> None:
        if argument[:1] == "d":
            row = self.backend.pin_document(argument)
            self.note(f"{row.title} is {'' if row.pinned else 'no longer '}pinned.")
        else:
            self._change_memory(argument, "pin", "Pinned {}.")

    def _change_memory(self, argument: str, change: MemoryChange, said: str) -> None:
        number = argument.removeprefix("#")
        if not number.isdigit():
            self.do_memory("")
            return
        self.backend.change_memory(int(number), change)
        self.state.undos.append(((int(number), OPPOSITE[change]),))
        self.note(said.format(number))

    def do_change(self, argument: str) -> None:
        number, _, text = argument.removeprefix("#").partition(" ")
        if not number.isdigit() or not text.strip():
            self.note("/change ID TEXT gives a memory another wording; /memory lists them.")
            return
        row = self.backend.edit_memory(int(number), text.strip())
        self.state.undos.append(((row.id, "forget"), (int(number), "restore")))
        self.note(f"Changed {number}, now {row.id}: {row.text}")

    def do_undo(self, argument: str) -> None:
        if not self.state.undos:
            self.note("Nothing to undo.")
            return
        for id, change in self.state.undos.pop():
            self.backend.change_memory(id, change)
        self.note("Undone.")

    def do_off(self, argument: str) -> None:
        self.state.off = not self.state.off
        self.note("Memory off: nothing is recalled or stored." if self.state.off else "Memory on.")

    # --- library and model

    def do_library(self, argument: str) -> None:
        words = argument.casefold().split()
        rows = self.backend.documents(self.state.scope)
        rows = [row for row in rows if all(word in f"{row.title} {row.path}".casefold() for word in words)]
        lines = [document_line(row) for row in rows[:LISTED]] or ["No document has these words in its name."]
        self.note("\n".join([*lines, *([f"… and {len(rows) - LISTED} more"] if len(rows) > LISTED else [])]))

    def do_add(self, argument: str) -> None:
        told = 0

        def progress(done: int, total: int, name: str) -> bool:
            nonlocal told
            if total and 10 * done // total > told:
                told = 10 * done // total
                self.note(f"Read {done:,} of {count(total, 'file')}.")
            return True

        path = Path(argument.strip("'\"")).expanduser()
        row = self.backend.add([path], self.state.scope[0], progress)
        self.note("\n".join([added_line(row), *(f"Failed: {name}: {reason}" for name, reason in row.failed)]))

    def do_remove(self, argument: str) -> None:
        """`/remove d7` says what would go; `/remove d7 yes` removes it."""
        document, _, agreed = argument.partition(" ")
        row = next((row for row in self.backend.documents(self.state.scope) if row.id == document), None)
        if row is None:
            self.note(f"There is no document {document} here. /library lists them.")
            return
        if agreed != "yes":
            self.note(f"{document_line(row)}. /remove {document} yes takes it out of the library.")
            return
        self.backend.remove_document(row.id)
        self.note(f"Removed {row.title}. Its file is still there: /add {row.path} reads it again.")

    def do_health(self, argument: str) -> None:
        found = self.backend.health(self.state.scope)
        lines = [*found.figures, *(f"Problem: {problem}. loci doctor --fix mends it." for problem in found.problems)]
        lines.append(f"Files changed since they were read: {found.changed}. Gone: {found.gone}.")
        self.note("\n".join([*lines, *found.gone_named]))

    def do_model(self, argument: str) -> None:
        """`/model REF` says the plan; `/model REF yes` loads it."""
        reference, _, agreed = argument.partition(" ")
        if not reference:
            model = self.backend.model(lambda words: None)
            lines = [model_line(model), *([note] if (note := model_note(model)) else [])]
            lines += [held] if (held := held_words(*self.backend.held())) else []
            self.note("\n".join([*lines, f"Others here: {', '.join(self.backend.models()) or 'none'}"]))
        elif agreed == "yes":
            self.note(f"Answers from here on: {model_line(self.backend.use_model(reference, lambda words: None))}")
        else:
            plan = self.backend.plan(reference)
            self.note("\n".join([plan.name, *plan.lines]))
            if plan.fits is not False:
                self.note(f"/model {reference} yes loads it.")
