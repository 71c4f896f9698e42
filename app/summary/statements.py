"""Statements with their evidence, put together into the text of a summary whose marks are numbered anew."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.answer import Citation
from app.claims import claims
from app.grounding import Checked
from app.marks import marks

_PROVEN = ("verified", "repaired", "misattributed")


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence without marks, and the citations that prove it."""

    text: str
    proof: tuple[Citation, ...]


def proven(checked: Checked) -> tuple[list[Statement], int]:
    """The statements of an answer that its sources support, and how many it made in all."""
    every = marks(checked.answer)
    units = claims(checked.answer, every, [], [])
    kept = []
    for start, end in units:
        if any(a < end and start < b for a, b in checked.unsupported):
            continue
        proof = tuple(c for c in checked.citations if start <= c.answer_start < end and c.status in _PROVEN)
        said = checked.answer[start:end]
        for mark in reversed([mark for mark in every if start <= mark.start < end]):
            said = said[: mark.start - start].rstrip() + said[mark.end - start :]
        if proof and said.strip(" -*•"):
            kept.append(Statement(said.strip().lstrip("-*• "), proof))
    return kept, len(units)


def composed(parts: Sequence[tuple[str, Sequence[Statement]]]) -> tuple[str, tuple[Citation, ...]]:
    """Text and citations of headed lists of statements; evidence that returns keeps its number."""
    text = ""
    numbers: dict[tuple[str, int, int], int] = {}
    citations: list[Citation] = []
    for heading, statements in parts:
        text += f"{heading}\n" if heading else ""
        for statement in statements:
            text += f"- {statement.text}"
            for cited in dict.fromkeys(statement.proof):
                n = numbers.setdefault((cited.document, cited.start, cited.end), len(numbers) + 1)
                mark = f"[{n}]"
                text += " "
                citations.append(replace(cited, n=n, answer_start=len(text), answer_end=len(text) + len(mark)))
                text += mark
            text += "\n"
        text += "\n"
    return text.strip(), tuple(citations)
