"""A backend that replays one written evening in a harbour office: for the tests, and for README's picture."""

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from app.answer import (
    Answer,
    Ask,
    Begun,
    Citation,
    Completed,
    Found,
    LeftOut,
    ModelUsed,
    Packed,
    Started,
    Text,
    Timing,
    TurnEvent,
    Used,
    UsedMemory,
    Window,
)
from app.errors import BadInput
from app.model_plan import PlanLines
from memory.branches import Branches
from memory.errors import NoSuchMemory
from model.engine import Usage
from retrieval.readers import PagePicture
from retrieval.types import Locator
from tui.backend import MemoryChange, Progress, Verdict
from tui.rows import (
    AddedRow,
    DocumentRow,
    HealthRow,
    LibraryRow,
    MemoryRow,
    ModelRow,
    PastRow,
    PinnedRow,
    SessionRow,
    SourceRow,
    TurnMark,
    TurnRow,
    answer_row,
)

QUESTION = "When is the slipway crane serviced, and who signs it off?"
STREAMED = (
    "The slipway crane is serviced **every six months**, in April and October [1].\n\n"
    "The harbour engineer signs the log before the crane is used again [2]. The next service costs 1,840 euros [3]."
)
BEFORE = (
    "4.2 Lifting gear\n\nAll lifting gear of the yard carries a yellow tag with the date of its last service. Gear "
    "without a tag is locked away.\n\n"
)
QUOTE = "The slipway crane is serviced every six months, in April and in October."
AFTER = (
    " Between services the foreman looks at hook, rope and brake each Monday and writes what he saw into the log.\n\n"
    "4.3 Mobile hoist\n\nThe mobile hoist is hired. Its owner services it and leaves the certificate at the office."
)


def citation(n: int, status: str, title: str, quote: str, page: int | None, locator: Locator) -> Citation:
    at = STREAMED.index(f"[{n}]")
    return Citation(
        n=n,
        answer_start=at,
        answer_end=at + 3,
        document=f"d{n}",
        path=f"/home/mara/harbour/{title}",
        title=title,
        page=page,
        line=10 * n,
        start=100,
        end=100 + len(quote),
        locator=locator,
        quote=quote,
        text_sha256="0" * 64,
        status=status,  # type: ignore[arg-type]
    )


CITATIONS = (
    citation(1, "verified", "Yard handbook.pdf", QUOTE, 12, Locator(section="Lifting gear")),
    citation(2, "repaired", "Duties.docx", "The harbour engineer signs the log", None, Locator(section="Engineer")),
    citation(3, "not_found", "Costs 2026.xlsx", "1,840 euros", None, Locator(sheet="Yard", cells="B4:C4")),
)
WINDOW = Window(
    4096,
    Used(system=212, memories=64, passages=1310, documents=0, history=180, question=19),
    (
        LeftOut("Tide tables 2026.csv", "does not fit the window: 6,120 tokens"),
        LeftOut("2 passages", "prefill budget of 10 s"),
    ),
)
MEMORIES = (
    UsedMemory(3, "You look after the lifting gear of the yard.", 0.81, True),
    UsedMemory(7, "You prefer short answers.", 0.44, False),
)
FILES = (("Costs 2026.xlsx", None), ("Duties.docx", 4), ("Tide tables 2026.csv", None), ("Yard handbook.pdf", 62))
READ = "2026-03-01 14:05"
MODEL = ModelRow(
    name="Loci embedded",
    reference="embedded",
    engine="torch",
    architecture="deepseek_v3",
    context=4096,
    quantization="F16",
    devices=("cpu",),
    total_parameters=9_800_000,
    active_parameters=3_100_000,
    writes_prose=False,
)


def answer(ask: Ask) -> Answer:
    return Answer(
        question=ask.question,
        standalone_question=ask.question,
        answer=STREAMED,
        reasoning="The handbook gives the interval. The duties name who signs.",
        grounded=True,
        abstained=False,
        reason=None,
        confidence=0.87,
        citations=CITATIONS,
        unsupported=(),
        query=None,
        memories=MEMORIES,
        context=WINDOW,
        scope=ask.scope,
        library_epoch=4,
        seed=0,
        model=ModelUsed("embedded", "torch", "deepseek_v3", "F16", ("cpu",)),
        usage=Usage(prompt_tokens=1785, completion_tokens=52),
        timing_ms=Timing(prefill=900, decode=600, total=1700),
        session=ask.session,
        turn=41,
    )


def events(ask: Ask) -> Iterator[TurnEvent]:
    yield Started("recall")
    yield Started("retrieve")
    yield Found((), MEMORIES)
    yield Packed(WINDOW)
    yield Started("answer")
    yield Text("The handbook gives the interval. ", reasoning=True)
    for word in STREAMED.split(" "):
        yield Text(word + " ")
    yield Started("check")
    yield Completed(answer(ask), ((12, "You ask about the slipway crane each spring."),))


def told(ask: Ask) -> Iterator[TurnEvent]:
    """The reply to something that was to be remembered, as the assistant gives it."""
    acknowledged = replace(answer(ask), answer="I will remember: you row.", grounded=False, citations=(), memories=())
    yield Completed(replace(acknowledged, confidence=None, context=Window(0, Used())), ((12, "You row."),))


class FakeBackend:
    """Answers at once. Set `gate` to hold a turn after its tenth event until the test opens it."""

    def __init__(self, documents: int = 14) -> None:
        self.documents_count = documents
        self.shelved = [
            DocumentRow(f"d{n}", title, f"/home/mara/harbour/{title}", "main", pages, 3 * n, 4200 * n, READ, n == 2)
            for n, (title, pages) in enumerate(FILES, start=1)
        ]
        self.script: Callable[[Ask], Iterator[TurnEvent]] = events
        self.gate: threading.Event | None = None
        self.asked: list[Ask] = []
        self.closed = 0
        self.added: list[list[str]] = []
        self.themes: list[str] = []
        self.earlier = PastRow((), None)
        self.exported: list[tuple[int, int, Path]] = []
        self.parents: dict[int, int] = {}
        """The turns asked here, from number 50 on, as `Branches` has them."""
        self.judged: list[tuple[int | None, str, str | None]] = []
        self.deleted: list[int] = []
        self.drawn: list[tuple[int, int]] = []
        self.page_error: Exception | None = None
        self.model_error: Exception | None = None
        self.model_gate: threading.Event | None = None
        self.using, self.loads = MODEL, 0
        self.add_gate: threading.Event | None = None
        self.known = [
            MemoryRow(3, MEMORIES[0].text, "fact", "active", True, "told 2026-03-01"),
            MemoryRow(7, MEMORIES[1].text, "preference", "active", False, "told 2026-03-02"),
            MemoryRow(9, "The boat of your sister is called Lumen.", "fact", "active", False, "told 2026-03-04"),
        ]
        self.stored = [
            SessionRow(5, "Tides in the first week of May", "main", "2026-03-04 18:20", 2),
            SessionRow(2, "Who has the keys of the north gate?", "main", "2026-03-01 09:05", 1),
        ]

    def model(self, loading: Callable[[str], None]) -> ModelRow:
        if self.model_error is not None:
            raise self.model_error
        if self.model_gate is not None:
            loading("1.0/4.0 GB, 900 MB/s")
            self.model_gate.wait()
        self.loads += 1
        return self.using

    def held(self) -> tuple[int | None, int]:
        return 812_000_000, 0

    def models(self) -> list[str]:
        return ["embedded", "/models/large.gguf"]

    def plan(self, reference: str) -> PlanLines:
        return PlanLines("huge" not in reference, reference.rsplit("/", 1)[-1], ("cpu: 4.1 GiB of 8.0 GiB free",))

    def use_model(self, reference: str, loading: Callable[[str], None]) -> ModelRow:
        if "broken" in reference:
            raise BadInput("The file is damaged.", "Fetch it again.")
        self.using = replace(MODEL, name="Large", reference=reference, writes_prose=True)
        return self.using

    def library(self, scope: Sequence[str]) -> LibraryRow:
        return LibraryRow(self.documents_count if "main" in scope else 0, ("main",), ("Duties.docx",))

    def documents(self, scope: Sequence[str]) -> list[DocumentRow]:
        return list(self.shelved) if "main" in scope else []

    def document_text(self, document: str) -> str:
        return f"\n{BEFORE}{QUOTE}\x1b[2J{AFTER}"

    def remove_document(self, document: str) -> None:
        self.shelved = [row for row in self.shelved if row.id != document]
        self.documents_count -= 1

    def pin_document(self, document: str, on: bool | None = None) -> DocumentRow:
        self.shelved = [replace(row, pinned=not row.pinned) if row.id == document else row for row in self.shelved]
        return next(row for row in self.shelved if row.id == document)

    def keep_pinned(self, collection: str) -> PinnedRow | None:
        return PinnedRow(3120, 1, 2)

    def health(self, scope: Sequence[str]) -> HealthRow:
        return HealthRow(("14 documents in all collections, 210 passages",), (), 2, 1, ("/home/mara/harbour/old.txt",))

    def turn(self, ask: Ask) -> Generator[TurnEvent, None, None]:
        self.asked.append(ask)
        try:
            if ask.store and ask.session is not None:
                number = 50 + len(self.parents)
                self.parents[number] = ask.after or 0
                yield Begun(ask.session, number)
            for number, event in enumerate(self.script(ask)):
                if number == 10 and self.gate is not None:
                    self.gate.wait(10)
                yield event
        except GeneratorExit:
            self.closed += 1
            raise

    def source(self, citation: Citation) -> SourceRow:
        place = {1: "page 12, Lifting gear", 2: "Engineer", 3: "sheet Yard, cells B4:C4"}[citation.n]
        return SourceRow(
            citation.n,
            citation.title,
            citation.path,
            place,
            citation.status,
            BEFORE,
            citation.quote,
            AFTER,
            "",
            has_page=citation.page is not None,
        )

    def page(self, citation: Citation, width: int) -> PagePicture:
        """A grey page twice as high as wide, a line in its middle marked."""
        self.drawn.append((citation.n, width))
        if self.page_error is not None:
            raise self.page_error
        return PagePicture(width, 2 * width, b"\x80\x90\xa0" * width * 2 * width, (width, width + 10))

    def text(self, citation: Citation) -> str:
        return f"{BEFORE}{citation.quote}\x1b[2J{AFTER}"

    def start_session(self, scope: str, title: str) -> int | None:
        self.stored.insert(0, SessionRow(8, title, scope, "2026-03-05 10:00", 0))
        return 8

    def sessions(self, words: str = "") -> list[SessionRow]:
        return [row for row in self.stored if words.casefold() in row.title.casefold()]

    def marks(self, session: int) -> Mapping[int, TurnMark]:
        tree = Branches(self.parents)
        return {turn: TurnMark(after, tree.versions(turn)) for turn, after in self.parents.items()}

    def turns(self, session: int, through: int | None = None) -> list[TurnRow]:
        if through is not None:
            tree, marks = Branches(self.parents), self.marks(session)
            path = tree.path(tree.latest(through))
            asked = {turn: self.asked[turn - 50].question for turn in path}
            return [TurnRow(turn, asked[turn], f"About {asked[turn]}", True, None, marks[turn]) for turn in path]
        whole = answer_row(answer(Ask("How high is the spring tide?", session=session)).to_json())
        return [
            TurnRow(40, "How high is the spring tide?", whole.text, True, whole),
            TurnRow(42, "And the neap tide?", "The neap tide reaches", False, None),
        ]

    def past(self) -> PastRow:
        return self.earlier

    def change_session(self, session: int, title: str | None = None, tags: Sequence[str] | None = None) -> SessionRow:
        row = next(row for row in self.stored if row.id == session)
        changed = replace(row, title=title or row.title, tags=tuple(tags if tags is not None else row.tags))
        self.stored = [changed if row.id == session else row for row in self.stored]
        return changed

    def export(self, session: int, upto: int, file: Path) -> None:
        self.exported.append((session, upto, file))

    def delete_session(self, session: int) -> None:
        self.deleted.append(session)
        self.stored = [row for row in self.stored if row.id != session]

    def memories(self, scope: Sequence[str]) -> list[MemoryRow]:
        return list(self.known)

    def why(self, id: int) -> list[str]:
        return [f"said on 2026-03-0{id}: “Remember it.”", "likely to be used: 0.812", "  +1.20  uses"]

    def remember(self, text: str, scope: str) -> MemoryRow:
        row = MemoryRow(10, text, "fact", "active", False, "you said so today")
        self.known.append(row)
        return row

    def edit_memory(self, id: int, text: str) -> MemoryRow:
        row = replace(next(row for row in self.known if row.id == id), id=20, text=text)
        self.known = [replace(one, state="archived") if one.id == id else one for one in self.known] + [row]
        return row

    def change_memory(self, id: int, change: MemoryChange) -> None:
        fields: dict[MemoryChange, dict[str, object]] = {
            "forget": {"state": "tombstone"},
            "restore": {"state": "active"},
            "pin": {"pinned": True},
            "unpin": {"pinned": False},
        }
        if id not in {row.id for row in self.known}:
            raise NoSuchMemory(f"There is no memory {id}.", "`loci memory list` shows them.")
        self.known = [replace(row, **fields[change]) if row.id == id else row for row in self.known]

    def feedback(self, turn: int | None, verdict: Verdict, text: str | None = None) -> None:
        self.judged.append((turn, verdict, text))

    def add(self, paths: Sequence[Path], collection: str, progress: Progress) -> AddedRow:
        self.added.append([str(path) for path in paths])
        for done in range(3):
            if not progress(done, 3, f"{paths[0]}/file{done}.pdf"):
                return AddedRow({"added": done}, 4 * done, ())
            if self.add_gate is not None:
                self.add_gate.wait(10)
        self.documents_count += 2
        return AddedRow({"added": 2, "failed": 1}, 9, ((f"{paths[0]}/file2.pdf", "The file is encrypted."),))

    def read(self, path: Path) -> str:
        if path.suffix == ".exe":
            raise BadInput(f"{path} cannot be read.", "Give a text.")
        return "The tide is high."

    def keep_theme(self, name: str) -> None:
        self.themes.append(name)
