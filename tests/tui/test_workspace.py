"""The adapter over real stores; the model and the assistant are stand-ins."""

import json
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from chat_fakes import CITATIONS, answer

from app.answer import Ask, Citation, Completed, Profile, Started, TurnEvent
from app.errors import BadInput
from memory.errors import NoSuchSession
from memory.settings import MemorySettings
from memory.store import MemoryStore
from model.engine import EngineInfo
from model.settings import ModelSettings
from retrieval.errors import RetrievalError
from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from retrieval.types import Locator
from tui.rows import PastRow, TurnMark
from tui.workspace import WorkspaceBackend

TEXT = "Tides\n\nThe spring tide reaches 6.2 m. The neap tide reaches 4.1 m.\n"
QUOTE = "The neap tide reaches 4.1 m."


class Letters:
    """Embeds by counting letters."""

    id, sha256, dimension, max_tokens = "letters", "0" * 64, 26, 200

    def encode(self, texts: Any) -> Any:
        counts = np.array([[text.lower().count(chr(97 + n)) + 0.01 for n in range(26)] for text in texts], np.float32)
        return counts.reshape(-1, 26) / np.linalg.norm(counts.reshape(-1, 26), axis=1, keepdims=True)

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


class Assistant:
    def __init__(self) -> None:
        self.closed = False

    def turn(self, ask: Ask) -> Generator[TurnEvent, None, None]:
        try:
            yield Started("answer")
            yield Completed(answer(ask))
        except GeneratorExit:
            self.closed = True
            raise


class Workspace:
    def __init__(self, folder: Path) -> None:
        embedder = Letters()
        self.library = Library(folder, folder / "cache", RetrievalSettings(), lambda: embedder)
        self.memory = MemoryStore(folder, MemorySettings(), embedder.encode, embedder.id)
        self.settings = SimpleNamespace(memory=SimpleNamespace(enabled=True), model=ModelSettings())
        self.chosen: list[str] = []
        self.made = Assistant()
        self.loaded = 0
        self.model_loaded = False
        self.loading: Callable[[int, int], None] = lambda done, total: None
        self.profile = Profile("chat", folder, folder / "cache", folder / "config")
        self.key = None

    def keep_pinned(self, collection: str) -> None:
        """This model reads nothing ahead."""

    def load(self) -> EngineInfo:
        self.loaded += 1
        return EngineInfo(
            "embedded", "Loci embedded", "torch", "deepseek_v3", 4096, "F16", ("cpu",), frozenset({"span"}), 9_800_000
        )

    def choose_model(self, reference: str) -> None:
        self.chosen.append(reference)
        self.settings.model = self.settings.model.model_copy(update={"reference": reference})

    def assistant(self) -> Assistant:
        return self.made


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace(tmp_path)
    yield opened
    opened.memory.close()
    opened.library.close()


@pytest.fixture
def backend(workspace: Workspace) -> WorkspaceBackend:
    return WorkspaceBackend(workspace)  # type: ignore[arg-type]


def cited(document: str, **changes: Any) -> Citation:
    at = TEXT.index(QUOTE)
    whole = replace(
        CITATIONS[0],
        document=document,
        start=at,
        end=at + len(QUOTE),
        quote=QUOTE,
        text_sha256=sha256(TEXT.encode()).hexdigest(),
        page=None,
        locator=Locator(section="Tides"),
    )
    return replace(whole, **changes)


def test_files_are_read_counted_and_their_passages_shown_around_the_quote(
    backend: WorkspaceBackend, workspace: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "tides.txt").write_text(TEXT)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    told: list[tuple[int, int]] = []
    row = backend.add([folder], "main", lambda done, total, path: told.append((done, total)) or True)
    assert row.counts["added"] == 1 and row.counts["failed"] == 1 and row.chunks >= 1
    assert row.failed[0][0].endswith("broken.pdf") and row.failed[0][1]
    assert told and all(done <= total for done, total in told)
    assert backend.library(["main"]).documents == 1 and backend.library(["other"]).documents == 0

    (document,) = [info.id for info in workspace.library.documents()]
    extraction = workspace.library.text(document)
    at = extraction.index(QUOTE)
    citation = cited(document, start=at, end=at + len(QUOTE), text_sha256=sha256(extraction.encode()).hexdigest())
    source = backend.source(citation)
    assert source.before.endswith("6.2 m. ") and source.quote == QUOTE and source.note == ""
    assert source.where == "Tides" and source.status == "verified"
    file = folder / "tides.txt"
    file.write_text(TEXT + "More.")
    assert backend.source(citation) == replace(
        source, note=f"Its file has changed since it was read; /add {citation.path} reads it again."
    )
    file.unlink()
    assert backend.source(citation).note == "Its file is gone from disk."
    changed = backend.source(replace(citation, text_sha256="1" * 64))
    assert changed.quote == QUOTE and changed.before == "" and "changed" in changed.note
    gone = backend.source(replace(citation, document="d999"))
    assert gone.quote == QUOTE and "no longer" in gone.note
    altered = backend.source(replace(citation, quote="The neap tide reaches 9 m.", status="not_found"))
    assert altered.quote == "The neap tide reaches 9 m." and QUOTE in altered.after


def test_documents_are_listed_pinned_looked_over_and_removed(backend: WorkspaceBackend, tmp_path: Path) -> None:
    tides, boats = (tmp_path / name for name in ("tides.txt", "boats.txt"))
    tides.write_text(TEXT)
    boats.write_text("The boat is blue.")
    backend.add([tides, boats], "main", lambda *_: True)
    rows = backend.documents(["main"])
    assert [row.path for row in rows] == [str(boats), str(tides)] and backend.documents(["other"]) == []
    assert rows[1].passages >= 1 and rows[1].bytes == len(TEXT) and backend.document_text(rows[1].id) == TEXT
    sound = backend.health(["main"])
    assert (sound.problems, sound.changed, sound.gone) == ((), 0, 0) and "2 documents" in sound.figures[0]
    tides.write_text(TEXT + "More.")
    boats.unlink()
    amiss = backend.health(["main"])
    assert (amiss.changed, amiss.gone, amiss.gone_named) == (1, 1, (str(boats),))
    assert (
        backend.pin_document("tides.txt").pinned
        and backend.library(["main"]).pinned == ("tides",)
        and backend.keep_pinned("main") is None
    )
    assert not backend.pin_document(rows[1].id).pinned and backend.pin_document(rows[1].id, True).pinned
    for row in rows:
        backend.remove_document(row.id)
    assert backend.documents(["main"]) == [] and tides.exists()


def test_reading_stops_when_the_chat_says_so(backend: WorkspaceBackend, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"File {number} of the tide.")
    assert backend.add([tmp_path], "main", lambda done, total, path: False).chunks == 0


def test_a_path_that_is_not_there_is_an_error_a_person_can_read(backend: WorkspaceBackend, tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="nowhere"):
        backend.add([tmp_path / "nowhere"], "main", lambda *_: True)


def test_sessions_are_listed_searched_opened_and_deleted(backend: WorkspaceBackend, workspace: Workspace) -> None:
    session = backend.start_session("main", "Tides")
    assert session is not None
    assert backend.sessions() == [], "a session without a turn is not one yet"
    asked = answer(Ask("When is the crane serviced?", session=session))
    turn = workspace.memory.begin_turn(session, asked.question)
    workspace.memory.finish_turn(turn, asked.answer, json.dumps(asked.to_json()), True)
    stopped = workspace.memory.begin_turn(session, "And the hoist?")
    workspace.memory.update_turn(stopped, "The hoist is")
    (row,) = backend.sessions()
    assert (row.title, row.scope, row.turns) == ("Tides", "main", 2)
    (hit,) = backend.sessions("crane")
    assert hit.id == session and "crane" in hit.found
    assert backend.sessions("submarine") == []
    first, second = backend.turns(session)
    assert first.complete and first.answer is not None and first.answer.citations == CITATIONS
    assert not second.complete and second.text == "The hoist is" and second.answer is None
    backend.delete_session(session)
    assert backend.sessions() == []
    with pytest.raises(NoSuchSession):
        backend.turns(session)


def test_branches_tags_and_the_past_come_from_the_store(
    backend: WorkspaceBackend, workspace: Workspace, tmp_path: Path
) -> None:
    assert backend.past() == PastRow((), None)
    session = workspace.memory.start_session("main", "Tides")
    first, second = (workspace.memory.begin_turn(session, text) for text in ("One?", "Two?"))
    other = workspace.memory.begin_turn(session, "Two, otherwise?", after=first)
    assert [row.id for row in backend.turns(session)] == [first, other]
    assert [row.id for row in backend.turns(session, second)] == [first, second]
    assert backend.marks(session)[second] == TurnMark(first, (second, other)) == backend.turns(session, second)[1].mark
    past = backend.past()
    assert past.questions == ("One?", "Two?", "Two, otherwise?")
    assert past.cut_off is not None and past.cut_off.id == session
    assert backend.change_session(session, tags=["quay"]).tags == ("quay",)
    assert (
        [row.id for row in backend.sessions("#quay")] == [row.id for row in backend.sessions("#quay two")] == [session]
    )
    assert backend.sessions("#sea") == [] and backend.sessions("#quay submarine") == []
    done = answer(Ask("Two, otherwise?", session=session))
    workspace.memory.finish_turn(other, "Use <b>ropes</b> ![x](http://a/b.png)", json.dumps(done.to_json()), True)
    assert backend.past().cut_off is None
    for name, wanted in (("s.html", "&lt;b&gt;ropes"), ("s.md", "> Two, otherwise?"), ("s.json", '"follows": ')):
        backend.export(session, other, tmp_path / name)
        assert wanted in (tmp_path / name).read_text()
    page = (tmp_path / "s.html").read_text()
    assert "<img" not in page and CITATIONS[0].quote in page and "<h2>Two?</h2>" not in page
    backend.export(session, second, tmp_path / "other.md")
    assert "> Two?" in (tmp_path / "other.md").read_text() and "otherwise" not in (tmp_path / "other.md").read_text()
    for file in (tmp_path / "s.md", tmp_path / "s.docx"):
        with pytest.raises(BadInput) as refused:
            backend.export(session, other, file)
        assert "--force" not in refused.value.mend, "a chat has no such option"


def test_nothing_is_stored_where_the_memory_is_off(backend: WorkspaceBackend, workspace: Workspace) -> None:
    workspace.settings.memory.enabled = False
    assert backend.start_session("main", "Tides") is None
    assert workspace.memory.sessions() == []


def test_memories_change_and_stay_in_their_scope(backend: WorkspaceBackend) -> None:
    known = backend.remember("My boat is called Whimbrel.", "why").id
    assert "added by a command" in backend.why(known)
    first = backend.remember("My boat is called Lumen.", "main")
    backend.remember("I keep bees.", "garden")
    assert [row.text for row in backend.memories(["main"])] == ["My boat is called Lumen."]
    assert first.why.startswith("by command ")
    backend.change_memory(first.id, "pin")
    assert backend.memories(["main"])[0].pinned
    other = backend.edit_memory(first.id, "My boat is called Ines.")
    assert [row.text for row in backend.memories(["main"]) if row.state == "active"] == ["My boat is called Ines."]
    backend.change_memory(other.id, "forget")
    backend.change_memory(first.id, "restore")
    assert [row.text for row in backend.memories(["main"]) if row.state == "active"] == ["My boat is called Lumen."]
    backend.change_memory(first.id, "forget")
    assert {row.state for row in backend.memories(["main"])} == {"tombstone"}
    backend.change_memory(first.id, "restore")
    assert backend.memories(["main"])[0].state == "active"


def test_a_turn_loads_the_model_first_and_closing_it_closes_the_assistants(
    backend: WorkspaceBackend, workspace: Workspace
) -> None:
    turn = backend.turn(Ask("When?"))
    assert next(turn) == Started("load") and workspace.loaded == 0
    assert next(turn) == Started("answer") and workspace.loaded == 1
    turn.close()
    assert workspace.made.closed


def test_rooms_are_opened_by_one_thread_at_a_time() -> None:
    inside, most = 0, 0
    guard = threading.Lock()

    class Slow:
        @property
        def memory(self) -> Any:
            nonlocal inside, most
            with guard:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.02)
            with guard:
                inside -= 1
            return SimpleNamespace(sessions=lambda: [])

    backend = WorkspaceBackend(Slow())  # type: ignore[arg-type]
    threads = [threading.Thread(target=backend.sessions) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_the_model_row_says_that_a_span_model_writes_no_prose(backend: WorkspaceBackend) -> None:
    row = backend.model(print)
    assert row.name == "Loci embedded" and not row.writes_prose and row.total_parameters == 9_800_000


def test_another_model_is_planned_and_the_one_before_stays_where_it_fails(
    backend: WorkspaceBackend, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backend.models() == ["embedded"]
    plan = backend.plan("embedded")
    assert plan.fits and any("tokens/s" in line for line in plan.lines)
    assert backend.plan("http://localhost:1/v1#m").fits is None
    assert backend.use_model("other", print).name == "Loci embedded" and workspace.chosen == ["other"]
    monkeypatch.setattr(workspace, "load", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        backend.use_model("broken", print)
    assert workspace.chosen[1:] == ["broken", "other"]


def test_a_load_is_told_in_bytes_and_rate(backend: WorkspaceBackend, workspace: Workspace) -> None:
    told: list[str] = []
    backend.model(told.append)
    workspace.loading(2 * 10**9, 4 * 10**9)
    (words,) = told
    assert words.startswith("2.0/4.0 GB, ") and words.endswith(" MB/s")
