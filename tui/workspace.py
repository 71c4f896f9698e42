"""The chat's backend over an opened workspace: stores and engine in, rows out."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from app.answer import Ask, Citation, Started, TurnEvent
from app.errors import TracesLeft
from app.loading import LoadMeter
from app.model_plan import PlanLines, plan_lines
from memory.types import Memory, Session, Source
from retrieval.errors import NoSuchDocument
from tui.backend import MemoryChange, Progress, Verdict
from tui.rows import (
    AddedRow,
    LibraryRow,
    MemoryRow,
    ModelRow,
    PastRow,
    SessionRow,
    SourceRow,
    TurnMark,
    TurnRow,
    answer_row,
)
from tui.words import citation_place

if TYPE_CHECKING:
    from app.workspace import Workspace
    from memory.store import MemoryStore
    from retrieval.ingest import Progress as Reading
    from retrieval.library import Library

QUESTIONS = 500
"""Earlier questions that Up brings back."""
AROUND = 2500
"""Characters of the document shown on each side of a quote."""


class WorkspaceBackend:
    """The chat's backend over one opened profile. Its rooms open one at a time, when first needed."""

    def __init__(self, workspace: "Workspace") -> None:
        self._workspace = workspace
        self._opening = threading.Lock()
        self._attached: dict[str, str] = {}
        """Texts that were asked about without being in the library, by their hash."""
        self._loading = threading.Lock()  # loading may take minutes, in which the rooms are open

    def _open(self, room: str) -> Any:
        # Rooms are opened lazily and without a lock of their own, while the chat's workers run side by side.
        with self._opening:
            return getattr(self._workspace, room)

    @property
    def _library(self) -> "Library":
        return cast("Library", self._open("library"))

    @property
    def _memory(self) -> "MemoryStore":
        return cast("MemoryStore", self._open("memory"))

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

    def library(self, scope: Sequence[str]) -> LibraryRow:
        library = self._library
        return LibraryRow(len(library.documents(list(scope))), tuple(library.collections()))

    def turn(self, ask: Ask) -> Generator[TurnEvent, None, None]:
        yield Started("load")
        with self._loading:  # the first question may come while the model is still loading
            self._workspace.load()
        with self._opening:
            assistant = self._workspace.assistant()
        self._attached |= {sha256(text.encode()).hexdigest(): text for _, text in ask.attachments}
        yield from assistant.turn(ask)

    def text(self, citation: Citation) -> str:
        attached = self._attached.get(citation.text_sha256)
        return self._library.text(citation.document) if attached is None else attached

    def source(self, citation: Citation) -> SourceRow:
        """The quote in its surroundings; the quote alone where the document changed or left since."""
        before = after = note = ""
        try:
            text = self.text(citation)
        except NoSuchDocument:
            note = "The document is no longer in the library, or was attached to that question."
        else:
            if sha256(text.encode()).hexdigest() != citation.text_sha256:
                note = "The document has changed since. The quote is shown as it was."
            elif text[citation.start : citation.end] == citation.quote:
                before = text[max(citation.start - AROUND, 0) : citation.start]
                after = text[citation.end : citation.end + AROUND]
            else:
                after = "\n\n" + text[max(citation.start - AROUND, 0) : citation.end + AROUND] if citation.end else ""
                note = "The quote, and under it the passage that was cited."
        return SourceRow(
            n=citation.n,
            title=citation.title or Path(citation.path).name,
            path=citation.path,
            where=citation_place(citation),
            status=citation.status,
            before=before,
            quote=citation.quote,
            after=after,
            note=note,
        )

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

        text = export_session(self._memory, session, form_of(file), upto)
        with private_file(file) as out:
            out.write(text.encode())

    def delete_session(self, session: int) -> None:
        from app.purge import purge_session, resume  # takes what a turn takes

        with self._opening:  # nobody else opens a room while files are rewritten
            resume(self._workspace)
            receipt = purge_session(self._workspace, session)
        if not receipt.clean:
            left = ", ".join(one.place for one in receipt.left if not one.kept)
            raise TracesLeft(f"Session {session} is deleted, and traces are left: {left}.", "loci doctor --fix")

    def memories(self, scope: Sequence[str]) -> list[MemoryRow]:
        """Pinned first, then the newest; the forgotten last. Episodes are the sessions' own and stand there."""
        found = self._memory.list(scopes=list(scope), states=("active", "archived", "tombstone"))
        rows = [memory for memory in found if memory.kind != "episode"]
        rows.sort(key=lambda memory: (memory.state == "tombstone", not memory.pinned, -memory.id))
        return [_memory_row(memory) for memory in rows]

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

    def add(self, paths: Sequence[Path], collection: str, progress: Progress) -> AddedRow:
        from retrieval.ingest import ingest  # the readers' libraries take a second to import

        read = 0

        def moved(now: "Reading") -> None:
            nonlocal read
            read = now.files_done
            if not progress(now.files_done, now.files, now.path):
                raise _Stopped

        try:
            results = ingest(self._library, list(paths), collection=collection, progress=moved)
        except _Stopped:
            return AddedRow({"read": read}, 0, ())
        return AddedRow(
            counts=Counter(result.status for result in results),
            chunks=sum(result.chunks for result in results if result.status in ("added", "updated")),
            failed=tuple((result.path, result.reason or "") for result in results if result.status == "failed"),
        )

    def keep_theme(self, name: str) -> None:
        from app.profile import config_file
        from app.settings_edit import set_value

        set_value(config_file(self._workspace.profile), "chat", "theme", name)


class _Stopped(Exception):
    """The user stopped the reading of files; what was read is kept."""


def _session_row(session: Session) -> SessionRow:
    return SessionRow(
        id=session.id,
        title=session.title or f"Session {session.id}",
        scope=session.scope,
        when=_local(session.last_turn or session.started),
        turns=session.turns,
        tags=session.tags,
    )


def _memory_row(memory: Memory) -> MemoryRow:
    how = {"told": "told", "extracted": "you said so", "command": "by command", "import": "imported"}[memory.source.how]
    why = f"{how} {_local(memory.created)[:10]}"
    return MemoryRow(memory.id, memory.text, memory.kind, memory.state, memory.pinned, why)


def _local(stamp: str) -> str:
    """`2026-03-01 14:05` in local time, from UTC in ISO 8601."""
    return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M")
