"""Data sets of passages and questions, as their authors publish them. Knows nothing about search."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.errors import BadInput
from model.errors import why

Span = tuple[str, int, int]
"""Document's file name, start and end."""


@dataclass(frozen=True, slots=True)
class Question:
    """`gold` are the spans that answer it; finding a passage of `gold`'s document is a hit where spans are whole."""

    text: str
    gold: tuple[Span, ...]
    grades: Mapping[str, float] = field(default_factory=dict)
    """How relevant each file is, by its name, where the set says so."""
    answers: tuple[Span, ...] = ()
    """The words that answer it, where the set says so and `gold` is more than they."""

    @property
    def graded(self) -> Mapping[str, float]:
        """`grades`, or the documents of `gold`, all alike."""
        return self.grades or {name: 1.0 for name, _, _ in self.gold}


@dataclass(frozen=True, slots=True)
class Dataset:
    texts: dict[str, str]
    """File name to text."""
    questions: tuple[Question, ...]
    by_document: bool
    """Whether a document is one relevant item (a paragraph), or its spans are."""


def read_xquad(path: Path) -> Dataset:
    """SQuAD's format: each paragraph is a document, its questions are to find it.

    :raises BadInput: not there, or of another format.
    """
    file = path / "xquad.en.json" if path.is_dir() else path
    try:
        articles = json.loads(file.read_text(encoding="utf-8"))["data"]
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
        names = [f"{number:04d}.txt" for number in range(len(paragraphs))]
        texts = {name: paragraph["context"] for name, paragraph in zip(names, paragraphs, strict=True)}
        questions = tuple(
            Question(item["question"], ((name, 0, len(paragraph["context"])),), answers=_answers(name, item))
            for name, paragraph in zip(names, paragraphs, strict=True)
            for item in paragraph["qas"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{file} is not a file in SQuAD's format: {why(error)}.", "Name an xquad.*.json file."
        ) from error
    return Dataset(texts, questions, by_document=True)


def _answers(name: str, item: Mapping[str, Any]) -> tuple[Span, ...]:
    starts = ((answer["answer_start"], answer["text"]) for answer in item.get("answers", ())[:1])
    return tuple((name, start, start + len(text)) for start, text in starts)


def read_chunking(path: Path) -> Dataset:
    """A folder of corpora (`NAME.md`) and `questions.csv` with character spans.

    :raises BadInput: not there, or of another format.
    """
    try:
        texts = {file.name: file.read_text(encoding="utf-8") for file in sorted(path.glob("*.md"))}
        with (path / "questions.csv").open(encoding="utf-8", newline="") as handle:
            questions = tuple(
                Question(
                    row["question"],
                    tuple(
                        (f"{row['corpus_id']}.md", span["start_index"], span["end_index"])
                        for span in json.loads(row["references"])
                    ),
                )
                for row in csv.DictReader(handle)
                if f"{row['corpus_id']}.md" in texts
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path} is not a folder of the chunking set: {why(error)}.", "It holds questions.csv."
        ) from error
    return Dataset(texts, questions, by_document=False)


def read_beir(path: Path) -> Dataset:
    """A folder in the layout of BEIR (Thakur et al., 2021): corpus.jsonl, queries.jsonl and qrels/test.tsv.

    Each item of the corpus is a document, its title the first paragraph. Queries that nothing is relevant to are left
    out, as the measures have no meaning for them.

    :raises BadInput: not there, or of another format.
    """
    try:
        names, texts = {}, {}
        for number, item in enumerate(_objects(path / "corpus.jsonl")):
            names[str(item["_id"])] = name = f"{number:07d}.txt"
            texts[name] = "\n\n".join(part for part in (item.get("title", ""), item["text"]) if part)
        with (path / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as handle:
            judged: dict[str, dict[str, float]] = {}
            for row in csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE):
                if float(row["score"]) > 0 and row["corpus-id"] in names:
                    judged.setdefault(row["query-id"], {})[names[row["corpus-id"]]] = float(row["score"])
        questions = tuple(
            Question(item["text"], tuple((name, 0, len(texts[name])) for name in grades), grades)
            for item in _objects(path / "queries.jsonl")
            if (grades := judged.get(str(item["_id"])))
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path} is not a folder in BEIR's layout: {why(error)}.",
            "It holds corpus.jsonl, queries.jsonl and qrels/test.tsv.",
        ) from error
    return Dataset(texts, questions, by_document=True)


def _objects(file: Path) -> Iterable[dict[str, Any]]:
    with file.open(encoding="utf-8") as handle:
        yield from (json.loads(line) for line in handle if line.strip())
