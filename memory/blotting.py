"""Blotting what was deleted out of turns: question, answer and the stored result, whose citations keep their places.

Knows how a result of `loci ask --json` is built, and no rows.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from memory.quoting import Cut, Quoted, holding, merged

BLOT = "[forgotten]"
"""What stands where deleted words stood."""

_RETOLD = ("answer", "reasoning")
"""What the assistant wrote, in words of its own."""


@dataclass(frozen=True)
class Blotter:
    """Removes what `quoted` says, sentences that hold one of `words`, and of a result the parts that are about it.

    With `retold`, a word that the assistant may have put it in, sentences of answers that hold one go as well.
    """

    quoted: tuple[Quoted, ...]
    words: Set[str] = frozenset()
    retold: Set[str] = frozenset()
    memories: Set[int] = frozenset()
    """Ids of deleted memories: their entries leave a result."""
    documents: Set[str] = frozenset()
    """Ids of deleted documents: what cites them leaves a result."""
    mark: str = BLOT

    def cut(self, text: str, answer: bool = False) -> Cut:
        spans = [span for one in self.quoted for span in one.spans(text)]
        # Only what the first cut leaves counts: a sentence whose telling words are gone may stay.
        left = Cut(text, merged(spans), self.mark).blank
        spans += holding(left, self.words | self.retold if answer else self.words)
        return Cut(text, merged(spans), self.mark)

    def text(self, text: str, answer: bool = False) -> str:
        return self.cut(text, answer).result

    def answer(self, text: str, result: Any) -> Cut:
        """The cut of an answer, of which `result` knows the places that cite deleted documents."""
        cut = self.cut(text, answer=True)
        cited = [
            (one["answer_start"], one["answer_end"])
            for one in _entries(result, "citations")
            if one.get("document") in self.documents and one.get("answer_end", 0) > one.get("answer_start", 0)
        ]
        return Cut(text, merged([*cut.removed, *cited]), self.mark) if cited else cut

    def result(self, result: Any) -> Any:
        """A stored result without what was deleted; places in the answer are those of the new answer."""
        if not isinstance(result, dict):
            return self._anywhere(result)
        cleaned = {key: self._anywhere(value, key in _RETOLD) for key, value in result.items()}
        said = result.get("answer")
        if isinstance(said, str):
            cut = self.answer(said, result)
            cleaned["answer"] = cut.result
            cleaned |= {key: value for key, value in self._places(cut, result).items() if key in result}
        if "memories" in result:
            kept = [one for one in _entries(result, "memories") if one.get("id") not in self.memories]
            cleaned["memories"] = [one for one in kept if self._anywhere(one) == one]
        return cleaned

    def _places(self, cut: Cut, result: dict[str, Any]) -> dict[str, Any]:
        citations = []
        for one in _entries(result, "citations"):
            moved = cut.moved(one.get("answer_start", 0), one.get("answer_end", 0))
            # A quotation is a slice of its document or nothing: it is never blotted, but leaves.
            if moved and one.get("document") not in self.documents and self._anywhere(one) == one:
                citations.append(one | {"answer_start": moved[0], "answer_end": moved[1]})
        unsupported = [cut.moved(*span) for span in result.get("unsupported") or []]
        return {"citations": citations, "unsupported": [list(span) for span in unsupported if span]}

    def _anywhere(self, value: Any, answer: bool = False) -> Any:
        if isinstance(value, str):
            return self.text(value, answer)
        if isinstance(value, dict):
            return {key: self._anywhere(item, answer) for key, item in value.items()}
        return [self._anywhere(item, answer) for item in value] if isinstance(value, list) else value


def _entries(result: Any, key: str) -> list[dict[str, Any]]:
    found = result.get(key) if isinstance(result, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
