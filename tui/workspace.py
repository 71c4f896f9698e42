"""The chat's backend over an opened workspace: stores and engine in, rows out."""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from app.answer import Ask, Started, TurnEvent
from app.errors import BadInput, TracesLeft
from app.loading import LoadMeter
from app.model_plan import PlanLines, plan_lines
from memory.types import Memory, Session, Source
from tui.backend import MemoryChange, Verdict
from tui.library_backend import LibraryBackend, local_time
from tui.rows import MemoryRow, ModelRow, PastRow, SessionRow, TurnMark, TurnRow, answer_row

QUESTIONS = 500
"""Earlier questions that Up brings back."""


class WorkspaceBackend(LibraryBackend):
    """All that the chat needs, over one opened profile. Its rooms open one at a time, when first needed."""

    def model(self, loading: Callable[[str], None]) -> ModelRow:
        meter = LoadMeter()
        with self._loading:
            self._workspace.loading = lambda done, total: loading(meter(done, total))
            info = self._workspace.load()
        return ModelRow(
            name=info.name,
            reference=info.reference,
            engine=info.engine,
            architecture=info.architecture,
            context=info.context,
            quantization=info.quantization,
            devices=info.devices,
            total_parameters=info.total_parameters,
            active_parameters=info.active_parameters,
            writes_prose="chat" in info.capabilities,
        )

    def held(self) -> tuple[int | None, int]:
        from app.held import held

        return held(self._workspace.profile)

    def models(self) -> list[str]:
        from app.models_here import models_here

        return models_here(self._workspace)

    def plan(self, reference: str) -> PlanLines:
        return plan_lines(self._workspace, reference)

    def use_model(self, reference: str, loading: Callable[[str], None]) -> ModelRow:
        before = self._workspace.settings.model.reference
        self._workspace.choose_model(reference)
        try:
            return self.model(loading)
        except Exception:
            self._workspace.choose_model(before)
            raise

    def turn(self, ask: Ask) -> Generator[TurnEvent, None, None]:
        yield Started("load")
        with self._loading:  # the first question may come while the model is still loading
            self._workspace.load()
        with self._opening:
            assistant = self._workspace.assistant()
        self._attached |= {sha256(text.encode()).hexdigest(): text for _, text in ask.attachments}
        yield from assistant.turn(ask)

    def start_session(self, scope: str, title: str) -> int | None:
        return self._memory.start_session(scope, title) if self._workspace.settings.memory.enabled else None

    def sessions(self, words: str = "") -> list[SessionRow]:
        rows = [_session_row(session) for session in self._memory.sessions() if session.turns]
        if not words:
            return rows
        tags = {word[1:].casefold() for word in words.split() if word.startswith("#")}
        rows = [row for row in rows if tags <= {tag.casefold() for tag in row.tags}]
        words = " ".join(word for word in words.split() if not word.startswith("#"))
        if not words:
            return rows
        by_id = {row.id: row for row in rows}
        found: dict[int, SessionRow] = {}
        for hit in self._memory.search_turns(words):
            row = by_id.get(hit.turn.session)
            if row is not None and row.id not in found:
                found[row.id] = replace(row, found=hit.excerpt)
        return list(found.values())

    def turns(self, session: int, through: int | None = None) -> list[TurnRow]:
        tree = self._memory.branches(session)
        upto = None if through is None else tree.latest(through)
        return [
            TurnRow(
                id=turn.id,
                question=turn.question,
                text=turn.answer,
                complete=turn.complete,
                answer=answer_row(json.loads(turn.answer_json)) if turn.answer_json else None,
                mark=TurnMark(tree.parents[turn.id], tree.versions(turn.id)),
            )
            for turn in self._memory.branch(session, upto)
            if turn.id in tree.parents  # else it was asked by another chat since
        ]

    def marks(self, session: int) -> Mapping[int, TurnMark]:
        tree = self._memory.branches(session)
        return {turn: TurnMark(after, tree.versions(turn)) for turn, after in tree.parents.items()}

    def past(self) -> PastRow:
        if not self._workspace.settings.memory.enabled:
            return PastRow((), None)
        last, sessions = self._memory.last_turn(), self.sessions()
        cut_off = last is not None and not last.complete and sessions and sessions[0].id == last.session
        return PastRow(tuple(self._memory.asked(QUESTIONS)), sessions[0] if cut_off else None)

    def change_session(self, session: int, title: str | None = None, tags: Sequence[str] | None = None) -> SessionRow:
        return _session_row(self._memory.change_session(session, title=title, tags=tags))

    def export(self, session: int, upto: int, file: Path) -> None:
        from app.files import private_file
        from app.session_export import export_session, form_of

        if file.exists():
            raise BadInput(f"{file} exists.", "Give it another name.")
        text = export_session(self._memory, session, form_of(file), upto)
        with private_file(file) as out:
            out.write(text.encode())

    def delete_session(self, session: int) -> None:
        from app.purge import purge_sessions, resume  # takes what a turn takes

        with self._opening:  # nobody else opens a room while files are rewritten
            resume(self._workspace)
            receipt = purge_sessions(self._workspace, [session])
        if not receipt.clean:
            left = ", ".join(one.place for one in receipt.left if not one.kept)
            raise TracesLeft(f"Session {session} is deleted, and traces are left: {left}.", "loci doctor --fix")

    def memories(self, scope: Sequence[str]) -> list[MemoryRow]:
        """Pinned first, then the newest; the forgotten last. Episodes are the sessions' own and stand there."""
        found = self._memory.list(scopes=list(scope), states=("active", "archived", "tombstone"))
        rows = [memory for memory in found if memory.kind != "episode"]
        rows.sort(key=lambda memory: (memory.state == "tombstone", not memory.pinned, -memory.id))
        return [_memory_row(memory) for memory in rows]

    def why(self, id: int) -> list[str]:
        from app.why import reasons, retention_reasons

        found = self._memory.why(id)
        return [*reasons(found["memory"].source, found), *retention_reasons(found["retention"])]

    def remember(self, text: str, scope: str) -> MemoryRow:
        return _memory_row(self._memory.add(text, scope=scope, source=Source("command")))

    def edit_memory(self, id: int, text: str) -> MemoryRow:
        return _memory_row(self._memory.edit(id, text))

    def change_memory(self, id: int, change: MemoryChange) -> None:
        match change:
            case "forget":
                self._memory.forget(id)
            case "restore":
                self._memory.restore(id)
            case "pin" | "unpin":
                self._memory.pin(id, change == "pin")

    def feedback(self, turn: int | None, verdict: Verdict, text: str | None = None) -> None:
        self._memory.feedback(turn, verdict, text)

    def keep_theme(self, name: str) -> None:
        from app.profile import config_file
        from app.settings_edit import set_value

        set_value(config_file(self._workspace.profile), "chat", "theme", name)


def _session_row(session: Session) -> SessionRow:
    return SessionRow(
        id=session.id,
        title=session.title or f"Session {session.id}",
        scope=session.scope,
        when=local_time(session.last_turn or session.started),
        turns=session.turns,
        tags=session.tags,
    )


def _memory_row(memory: Memory) -> MemoryRow:
    how = {"told": "told", "extracted": "you said so", "command": "by command", "import": "imported"}[memory.source.how]
    why = f"{how} {local_time(memory.created)[:10]}"
    return MemoryRow(memory.id, memory.text, memory.kind, memory.state, memory.pinned, why)
