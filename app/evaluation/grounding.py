"""Are answers right, refusals honest, and citations where the evidence is? Measured end to end through `Assistant`.

`xquad`: all paragraphs are the library; exact match and F1 of the answer without its mark. `clapnq`: each question
with its own
passage as an attachment; the answer's confidence must tell the answerable from the unanswerable. The baseline
`no-model` is
the same path without a model's scores; `top-cosine` is the similarity of question and nearest passage.
"""

import json
import random
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.answer import Answer, Ask
from app.assistant import Assistant
from app.errors import BadInput
from app.evaluation.passage_sets import read_xquad
from app.evaluation.scores import auroc, exact_match, f1
from app.settings_assistant import AssistantSettings
from model.engine import Engine, EngineInfo
from model.errors import ModelError
from retrieval.embedder import Embedder
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.settings import RetrievalSettings

_MARK = re.compile(r"\s*\[\d+\]\s*$")


@dataclass(frozen=True, slots=True)
class Question:
    """`gold` are right answers (xquad) or sentences of the evidence (clapnq); none for an unanswerable one."""

    text: str
    gold: tuple[str, ...]
    attachment: tuple[str, str] | None = None


class NoModel:
    """An engine that cannot score: the rule of `app.spans` answers alone."""

    def describe(self) -> EngineInfo:
        return EngineInfo("none", "no model", "torch", "none", 4096, "none", (), frozenset({"span"}))

    def count_tokens(self, prompt: object) -> int:
        return 0

    def close(self) -> None: ...


def evaluate(
    dataset: str,
    path: Path,
    *,
    limit: int | None = None,
    engine: Callable[[], Engine] | None = None,
    embedder: Callable[[], Embedder] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Measure answers on `dataset` (`xquad` or `clapnq`) at `path`; `engine` is the embedded model unless given.

    `limit` takes the first questions only; `settings` are those of `AssistantSettings`. The shape is that of
    `loci eval --json`.

    :raises BadInput: the dataset is unknown or empty, or its files are not there.
    """
    if dataset not in ("xquad", "clapnq"):
        raise BadInput(f"There is no grounding dataset {dataset!r}.", "Known: xquad, clapnq.")
    began = time.perf_counter()
    chosen = AssistantSettings(**settings)
    with tempfile.TemporaryDirectory() as folder:
        library = Library(Path(folder), Path(folder) / "cache", RetrievalSettings(), embedder)
        try:
            questions = _xquad(path, library, Path(folder)) if dataset == "xquad" else read_clapnq(path)
            questions = questions[:limit]
            if not questions:
                raise BadInput(f"{path} holds no questions.", "Give the whole data set.")
            model, named = _opened(engine)
            runs = {"no-model": _answers(questions, library, lambda: NoModel(), chosen)}  # type: ignore[arg-type, return-value]  # never scores
            if model is not None:
                runs["model"] = _answers(questions, library, lambda: model, chosen)
        finally:
            library.close()
        measure = _measure_xquad if dataset == "xquad" else _measure_clapnq
        measured = {name: measure(questions, answers) for name, answers in runs.items()}
        baselines = {"no-model": measured["no-model"]}
        if dataset == "clapnq":
            baselines["top-cosine"] = {"auroc": _top_cosine(questions, library)}
    return {
        "dataset": dataset,
        "items": len(questions),
        "metrics": measured.get("model", measured["no-model"]),
        "baselines": baselines,
        "settings": {**chosen.model_dump(), "model": named},
        "seconds": round(time.perf_counter() - began, 3),
    }


def _opened(engine: Callable[[], Engine] | None) -> tuple[Engine | None, str]:
    """The model to measure; none if this installation ships no embedded one."""
    if engine is not None:
        opened = engine()
        return opened, opened.describe().reference
    from model.open import open_engine
    from model.settings import ModelSettings

    try:
        return open_engine("embedded", ModelSettings()), "embedded"
    except ModelError as error:
        return None, f"none: {error.message}"


def _answers(
    questions: Sequence[Question], library: Library, engine: Callable[[], Engine], settings: AssistantSettings
) -> list[Answer]:
    assistant = Assistant(engine, library, None, settings)
    found = []
    for question in questions:
        attached = (question.attachment,) if question.attachment is not None else ()
        found.append(
            assistant.ask(
                Ask(question.text, attachments=attached, use_library=not attached, use_memory=False, store=False)
            )
        )
    return found


# ---- xquad --------------------------------------------------------------------------------------


def _xquad(path: Path, library: Library, folder: Path) -> list[Question]:
    """Ingest every paragraph as a document; the questions with their answers."""
    data = read_xquad(path)
    texts = folder / "texts"
    texts.mkdir()
    for name, text in data.texts.items():
        (texts / name).write_text(text, encoding="utf-8")
    ingest(library, [texts])
    file = path / "xquad.en.json" if path.is_dir() else path
    asked = [
        Question(question["question"], tuple(answer["text"] for answer in question["answers"]))
        for article in json.loads(file.read_text("utf-8"))["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    random.Random(0).shuffle(asked)  # a limit takes questions of all articles
    return asked


def _measure_xquad(questions: Sequence[Question], answers: Sequence[Answer]) -> dict[str, float]:
    """Refusals count as wrong: every question has an answer in the library."""
    pairs = [(_said(answer), question) for answer, question in zip(answers, questions, strict=True)]
    return {
        "em": _mean([exact_match(text, q.gold) for text, q in pairs]),
        "f1": _mean([f1(text, q.gold) for text, q in pairs]),
        "contains": _mean(
            [float(any(gold in _quotes(a) for gold in q.gold)) for a, q in zip(answers, questions, strict=True)]
        ),
        "refused_answerable": _mean([float(answer.abstained) for answer in answers]),
    }


def _said(answer: Answer) -> str:
    """What an answer says, without marks; of one in steps the last, since the others only lead to it."""
    if answer.abstained:
        return ""
    return answer.steps[-1].answer or "" if answer.steps else _MARK.sub("", answer.answer)


def _quotes(answer: Answer) -> str:
    return "\n".join(citation.quote for citation in answer.citations)


# ---- clapnq -------------------------------------------------------------------------------------


def read_clapnq(path: Path) -> list[Question]:
    """The questions of a folder's `*answerable.jsonl` and `*unanswerable.jsonl`, by turns, so that a limit takes both
    kinds.

    :raises BadInput: one of the files is missing.
    """
    kinds = []
    for kind in ("*_answerable.jsonl", "*_unanswerable.jsonl"):
        files = sorted(path.glob(kind))
        if not files:
            raise BadInput(f"{path} holds no {kind}.", "Give the folder of CLAP NQ with --path.")
        rows = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines() if line.strip()]
        kinds.append([_clapnq_question(row) for row in rows])
    longest = max(len(kind) for kind in kinds)
    return [kind[i] for i in range(longest) for kind in kinds if i < len(kind)]


def _clapnq_question(row: dict[str, Any]) -> Question:
    passages = row["passages"]
    text = "\n\n".join(passage["text"].strip() for passage in passages)
    gold = dict.fromkeys(s for output in row["output"] for s in output.get("selected_sentences") or () if s.strip())
    answered = any((output.get("answer") or "").strip() for output in row["output"])
    return Question(row["input"], tuple(gold) if answered else (), (passages[0]["title"], text))


def _measure_clapnq(questions: Sequence[Question], answers: Sequence[Answer]) -> dict[str, float]:
    """`gold_overlap`: share of the answered answerable questions whose citation shares text with a gold sentence."""
    pairs = list(zip(questions, answers, strict=True))
    yes = [(q, a) for q, a in pairs if q.gold]
    no = [a for q, a in pairs if not q.gold]
    answered = [(q, a) for q, a in yes if not a.abstained]
    confidence = sorted(a.confidence or 0.0 for _, a in yes)
    at_20 = confidence[len(confidence) // 5] if confidence else 0.0
    return {
        "auroc": auroc([a.confidence or 0.0 for _, a in yes], [a.confidence or 0.0 for a in no]),
        "refused_unanswerable": _mean([float(a.abstained) for a in no]),
        "refused_answerable": _mean([float(a.abstained) for _, a in yes]),
        "refused_unanswerable@0.20": _mean([float((a.confidence or 0.0) < at_20) for a in no]),
        "gold_overlap": _mean([float(_overlaps(q, a)) for q, a in answered]),
    }


def _overlaps(question: Question, answer: Answer) -> bool:
    assert question.attachment is not None
    text = question.attachment[1]
    gold = [(at, at + len(sentence)) for sentence in question.gold if (at := text.find(sentence)) >= 0]
    return any(c.start < end and start < c.end for c in answer.citations for start, end in gold)


def _top_cosine(questions: Sequence[Question], library: Library) -> float:
    """What the nearest passage's similarity alone tells."""
    from app.shelf import Shelf

    scores: dict[bool, list[float]] = {True: [], False: []}
    for question in questions:
        assert question.attachment is not None
        found = Shelf(library, (question.attachment,)).attached(question.text, 100)
        scores[bool(question.gold)].append(max((p.dense or 0.0 for p in found), default=0.0))
    return auroc(scores[True], scores[False])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)
