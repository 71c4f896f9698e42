"""The demonstration: a whole run over the sample library, judged against its file of questions.

It works in a folder of its own: reads the documents, asks each question afresh, tells a fact, and asks about it from a
second process. An answer counts only if an accepted string is in it and a citation was verified, lies in the right
document and place, and says the very words that stand there.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.answer import Answer, Ask, Citation
from app.errors import BadInput, DemoFailed
from app.profile import open_profile
from app.workspace import Workspace
from model.errors import why

if TYPE_CHECKING:
    from retrieval.library import Library

RIGHT_SHARE = 0.8
"""Of the answerable questions, right with verified citations (16 of 20)."""
REFUSED_SHARE = 0.8
"""Of the unanswerable questions, refused (4 of 5)."""
PROFILE = "demo"

Kind = Literal["question", "unanswerable", "memory"]


@dataclass(frozen=True, slots=True)
class Judged:
    """One question, what came, and whether that is right."""

    id: str
    kind: Kind
    question: str
    answer: str
    right: bool
    why: str
    """What is missing, empty if nothing is."""
    source: str
    """Document and place of the citation that counts."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the demonstration showed."""

    model: dict[str, Any]
    documents: int
    chunks: int
    ingest_seconds: float
    judged: tuple[Judged, ...]
    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    seconds: float

    def total(self, kind: Kind) -> tuple[int, int]:
        """(right, asked) of a kind."""
        asked = [item for item in self.judged if item.kind == kind]
        return sum(item.right for item in asked), len(asked)

    @property
    def passed(self) -> bool:
        right, asked = self.total("question")
        refused, unanswerable = self.total("unanswerable")
        used, told = self.total("memory")
        return right >= RIGHT_SHARE * asked and refused >= REFUSED_SHARE * unanswerable and used == told

    def to_json(self) -> dict[str, Any]:
        kinds: tuple[Kind, ...] = ("question", "unanswerable", "memory")
        totals = {kind: dict(zip(("right", "asked"), self.total(kind), strict=True)) for kind in kinds}
        return {"schema": 1, "passed": self.passed, "totals": totals, **asdict(self)}


def sample() -> Path:
    """Folder of the shipped sample: `questions.jsonl`, and the documents in folders beside it."""
    return Path(str(files("data"))) / "sample"


def read_questions(file: Path) -> list[dict[str, Any]]:
    """Rows of a questions file.

    :raises BadInput: it cannot be read.
    """
    try:
        return [json.loads(line) for line in file.read_text("utf-8").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read: {why(error)}.", "Reinstall Loci.") from None


def run_demo(home: Path, folder: Path, model: str | None = None) -> Iterator[Judged | str | Report]:
    """Run it in `home` over the sample in `folder`; yields progress, each judged question, the report."""
    from retrieval.ingest import ingest

    began = time.perf_counter()
    rows = read_questions(folder / "questions.jsonl")
    documents = sorted(path for path in folder.iterdir() if path.is_dir())
    if not documents:
        raise BadInput(f"{folder} holds no folder of documents.", "Reinstall Loci.")
    profile = open_profile(PROFILE, home)
    judged: list[Judged] = []
    answers: list[Answer] = []
    with Workspace(profile, {"model.reference": model}) as workspace:
        yield f"Reading {', '.join(path.name for path in documents)}"
        at = time.perf_counter()
        results = ingest(workspace.library, documents)
        ingest_seconds = time.perf_counter() - at
        failed = [f"{result.path}: {result.reason}" for result in results if result.status == "failed"]
        if failed:
            raise DemoFailed(f"The sample could not be read: {'; '.join(failed)}.", "Reinstall Loci.")
        read = workspace.library.documents()
        yield f"{len(read)} documents in {ingest_seconds:.1f} s"
        assistant = workspace.assistant()
        for row in rows:
            if "question" in row and not row.get("uses_memory"):
                at = time.perf_counter()
                answer = assistant.ask(Ask(row["question"], use_memory=False, store=False))
                answers.append(answer)
                judged.append(judge(row, answer, workspace.library, time.perf_counter() - at))
                yield judged[-1]
            elif "tell" in row:
                assistant.ask(Ask(row["tell"]))
                yield f"Told: {row['tell']}"
        info = workspace.engine().describe()
    for row in rows:  # everything above is closed: what follows can only come from disk
        if row.get("uses_memory"):
            at = time.perf_counter()
            judged.append(_judge_memory(row, _ask_elsewhere(home, row["question"], model), time.perf_counter() - at))
            yield judged[-1]
    prefill, decode = _rates(answers)
    described = {**asdict(info), "capabilities": sorted(info.capabilities)}
    chunks = sum(document.chunks for document in read)
    seconds = time.perf_counter() - began
    yield Report(described, len(read), chunks, ingest_seconds, tuple(judged), prefill, decode, seconds)


def judge(row: dict[str, Any], answer: Answer, library: "Library", seconds: float) -> Judged:
    """Whether `answer` is what the row expects, citation included."""
    kind: Kind = "unanswerable" if row.get("unanswerable") else "question"
    source, why = "", ""
    if kind == "unanswerable":
        why = "" if answer.abstained else "answered"
    elif answer.abstained:
        why = "refused"
    elif not _contains(answer.answer, row["expect"]):
        why = f"expected {row['expect'][0]}"
    else:
        why = "no verified citation of the right place"
        for citation in answer.citations:
            if _cites(citation, row, library):
                source, why = _source(citation), ""
                break
    text = " ".join(answer.answer.split())
    return Judged(row["id"], kind, row["question"], text, not why, why, source, seconds)


def _judge_memory(row: dict[str, Any], answer: dict[str, Any], seconds: float) -> Judged:
    used = [memory for memory in answer["memories"] if memory["cited"]]
    why = "" if _contains(answer["answer"], row["expect"]) else f"expected {row['expect'][0]}"
    why = why or ("" if used else "no memory cited")
    source = f"memory {used[0]['id']}" if used else ""
    return Judged(row["id"], "memory", row["question"], answer["answer"], not why, why, source, seconds)


def _contains(text: str, accepted: list[str]) -> bool:
    plain = " ".join(text.split()).casefold()
    return any(" ".join(expected.split()).casefold() in plain for expected in accepted)


def _cites(citation: Citation, row: dict[str, Any], library: "Library") -> bool:
    if citation.status != "verified" or Path(citation.path).name != row["document"]:
        return False
    if library.text(citation.document)[citation.start : citation.end] != citation.quote:
        return False
    place = {"page": citation.page, **asdict(citation.locator)}
    return all(_same_place(name, expected, place.get(name)) for name, expected in row.get("locator", {}).items())


def _same_place(name: str, expected: Any, found: Any) -> bool:
    if found is None:
        return False
    if name == "cells":
        return _within(str(expected), str(found))
    if name == "section":  # headings from the outermost
        return str(expected) in str(found).split(" › ")
    return bool(expected == found)


def _within(cell: str, cells: str) -> bool:
    """Whether `cells`, in A1 notation, is or contains `cell`."""
    (left, top), *rest = _corners(cells)
    right, bottom = rest[-1] if rest else (left, top)
    return all(left <= column <= right and top <= line <= bottom for column, line in _corners(cell))


def _corners(cells: str) -> list[tuple[int, int]]:
    corners = []
    for letters, digits in re.findall(r"([A-Z]+)([0-9]+)", cells):
        column = 0
        for letter in letters:
            column = column * 26 + ord(letter) - ord("A") + 1
        corners.append((column, int(digits)))
    return corners or [(0, 0)]


def _source(citation: Citation) -> str:
    name, locator = Path(citation.path).name, citation.locator
    if locator.cells:
        return f"{name} {locator.sheet + '!' if locator.sheet else ''}{locator.cells}"
    if citation.page:
        return f"{name} p. {citation.page}"
    return f"{name}:{citation.line}" + (f" § {locator.section.split(' › ')[-1]}" if locator.section else "")


def _ask_elsewhere(home: Path, question: str, model: str | None) -> dict[str, Any]:
    """`loci ask --json` in a process of its own."""
    # -P: the current folder is not searched for modules, where another `app` may lie.
    command = [
        sys.executable,
        "-P",
        "-m",
        "app.cli.main",
        "--no-resident",
        "--profile",
        PROFILE,
        "ask",
        question,
        "--json",
    ]
    command += ["--model", model] if model else []
    environment = {**os.environ, "LOCI_HOME": str(home)}
    run = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if not run.stdout.strip():
        raise DemoFailed(f"The second process ended with {run.returncode}: {run.stderr.strip()[-500:]}")
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def _rates(answers: list[Answer]) -> tuple[float, float]:
    """Tokens per second of reading prompts and of writing answers, over all answers."""
    read = sum(answer.usage.prompt_tokens - answer.usage.cached_tokens for answer in answers)
    written = sum(answer.usage.completion_tokens for answer in answers)
    reading = sum(answer.timing_ms.prefill for answer in answers) / 1000
    writing = sum(answer.timing_ms.decode for answer in answers) / 1000
    return read / reading if reading else 0.0, written / writing if writing else 0.0
