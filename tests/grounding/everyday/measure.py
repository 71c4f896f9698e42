"""Right, wrong but asserted, or refused: simple questions on short everyday documents, through `Assistant`.

    PYTHONPATH=. python tests/grounding/everyday/measure.py [--model REF] [--set tuned|held_out] [--show] [--items FILE]

Each question is asked twice: of a library that holds all documents, and with its own document handed over as
`loci ask --file` does. `tuned` may be looked at when rules are made; of `held_out` only the figures.

`--items` writes the tuned questions with what the library's search found for them: `app.evaluation.fit_spans` fits on
them.
"""

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal
from unittest.mock import patch

from app.answer import Answer, Ask
from app.assistant import Assistant
from app.settings_assistant import AssistantSettings
from app.spans import choose
from model.engine import Engine
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.settings import RetrievalSettings

HERE = Path(__file__).parent
SETS = ("tuned", "held_out")
_MARK = re.compile(r"\[m?\d+\]")
_WORD = re.compile(r"[\w$€£+]+(?:[.,]\d+)*")
LONGEST = 45
"""Words from which an answer to a simple question is no longer one."""

Verdict = Literal["right", "wrong", "refused", "rightly refused"]
VERDICTS: tuple[Verdict, ...] = ("right", "rightly refused", "refused", "wrong")


@dataclass(frozen=True, slots=True)
class Question:
    """`gold` are wordings of which an answer must hold one, none if the documents do not say; `avoid` what it may not
    hold beside: the neighbours of a value."""

    document: Path
    text: str
    gold: tuple[str, ...]
    avoid: tuple[str, ...]


def questions(name: str) -> list[Question]:
    """The questions of a set, in the order of its file."""
    rows = [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text("utf-8").splitlines()]
    return [
        Question(HERE / name / row["document"], row["question"], tuple(row["gold"]), tuple(row["avoid"]))
        for row in rows
    ]


def verdict(question: Question, answer: Answer) -> Verdict:
    """What an answer is worth: everything said where nothing could be is wrong."""
    if answer.abstained:
        return "refused" if question.gold else "rightly refused"
    said = plain(answer.answer)
    right = (
        any(plain(gold) in said for gold in question.gold)
        and not any(plain(one) in said for one in question.avoid)
        and len(said.split()) <= LONGEST
    )
    return "right" if right else "wrong"


def plain(text: str) -> str:
    """Words and numbers alone, between spaces, so that "no" is not found in "notice"."""
    return f" {' '.join(_WORD.findall(_MARK.sub('', text).casefold()))} "


def answers(asked: list[Question], library: Library, assistant: Assistant, handed_over: bool) -> Iterator[Answer]:
    """The answer to each question, from its own document or from the library of all."""
    for one in asked:
        attached = ((one.document.name, library.text(_id(library, one.document))),) if handed_over else ()
        yield assistant.ask(
            Ask(one.text, attachments=attached, use_library=not attached, use_memory=False, store=False)
        )


def items(library: Library, assistant: Assistant) -> Iterator[dict[str, object]]:
    """The tuned questions, the texts among which the answer path chose, and whether these answer."""
    asked = questions("tuned")
    with patch("app.chooser.choose", wraps=choose) as chosen:
        for one, _ in zip(asked, answers(asked, library, assistant, handed_over=False), strict=True):
            for question, texts, _, judge in (call.args for call in chosen.call_args_list):
                if judge is not None:
                    found = [astuple(text) for text in texts]
                    yield {"question": question, "texts": found, "answered": bool(one.gold)}
            chosen.reset_mock()


def _id(library: Library, file: Path) -> str:
    return next(one.id for one in library.documents() if Path(one.path).name == file.name)


def opened(reference: str) -> Engine:
    from model.open import open_engine
    from model.settings import ModelSettings

    return open_engine(reference, ModelSettings())


@contextmanager
def asking(model: str, folders: Sequence[Path]) -> Iterator[tuple[Library, Assistant]]:
    """A library of `folders` in a place of its own, and an assistant over it that answers by `model`."""
    engine = opened(model)
    with tempfile.TemporaryDirectory() as folder:
        library = Library(Path(folder), Path(folder) / "cache", RetrievalSettings())
        ingest(library, folders)
        yield library, Assistant(lambda: engine, library, None, AssistantSettings())
        library.close()
    engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--set", choices=SETS, action="append", help="both unless given")
    parser.add_argument("--show", action="store_true", help="every answer of the tuned set that is wrong or refused")
    parser.add_argument("--items", type=Path, help="file for the tuned questions with the passages found")
    chosen = parser.parse_args()
    with asking(chosen.model, [HERE / name for name in SETS]) as (library, assistant):
        if chosen.items is not None:
            chosen.items.write_text("".join(f"{json.dumps(one)}\n" for one in items(library, assistant)), "utf-8")
        for name in chosen.set or SETS:
            asked = questions(name)
            for handed_over in (False, True):
                counts: Counter[Verdict] = Counter()
                for one, answer in zip(asked, answers(asked, library, assistant, handed_over), strict=True):
                    counts[found := verdict(one, answer)] += 1
                    if chosen.show and name == "tuned" and found in ("wrong", "refused"):
                        print(f"  {found:8} {answer.confidence or 0.0:.2f}  {one.text}\n{'':17} {answer.answer!r}")
                way = "handed over" if handed_over else "library"
                told = ", ".join(f"{counts[one]} {one}" for one in VERDICTS)
                print(f"{name}, {way} ({len(asked)} questions): {told}", flush=True)


if __name__ == "__main__":
    main()
