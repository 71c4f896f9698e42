"""Exchanges words of questions and passages for others of the same form, so that reading is learned and not the corpus.

A question that is drawn again has another answer in its passage (Longpre et al., 2021, found models to answer from
memory against what they read), and a question about another subject has none there, though everything else fits.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from random import Random

_LEAD = re.compile(
    r"\b(?:who|whom|whose|when|where|how (?:many|much|old|long|far|often|big|large|high)|(?:what|which) \w+)\b"
)
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*")
_NOUN = re.compile(
    r"(?<=\b(?:the|her|his|its) )[a-z]{4,}(?= (?:at|by|for|from|had|has|have|in|is|of|on|that|to|was|were|with)\b|\?)"
)
_KIND = re.compile(
    r"(?:(?<=^[Ww]hat )|(?<=^[Ww]hich ))[a-z]{4,}"
    r"(?= (?:is|are|was|were|do|does|did|has|have|had|can|could|will|would)\b)"
)
_NO_KIND = frozenset(
    {"else", "happened", "kind", "name", "nation", "part", "parts", "place", "sort", "thing", "things", "type"}
)
"""Words after "what" that are no kind of thing, or for which another word is often right as well."""
_FEWEST = 8
"""Others of a form, without which the same few would come again and again."""
_WORD = re.compile(r"\S+")


class Exchange:
    """What answers and subjects of the same form there are."""

    def __init__(self, asked: Iterable[tuple[str, str]]) -> None:
        """`asked`: questions and their answers."""
        self._answers: dict[str, list[str]] = defaultdict(list)
        self._subjects: dict[str, list[str]] = defaultdict(list)
        for question, answer in asked:
            if (form := _answer_form(question, answer)) is not None:
                self._answers[form].append(answer)
            for found in _subjects(question):
                self._subjects[_subject_form(question, found)].append(found.group())

    def answer(self, question: str, answer: str, random: Random) -> str | None:
        """Another answer of the same form, to a question of the same kind; only names and numbers have such."""
        form = _answer_form(question, answer)
        return None if form is None else _other(self._answers.get(form, ()), answer, random)

    def subject(self, question: str, random: Random) -> tuple[str, str] | None:
        """A name or noun of the question, or the kind of thing that it asks for; and another that could stand there."""
        found = _subjects(question)
        if not found:
            return None
        chosen = random.choice(found)
        other = _other(self._subjects.get(_subject_form(question, chosen), ()), chosen.group(), random)
        return None if other is None else (chosen.group(), other)


def replaced(text: str, old: str, new: str) -> str:
    """`text` with `new` wherever `old` stands as whole words, in any case."""
    return re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", lambda _: new, text, flags=re.IGNORECASE)


def asks_for(question: str, kind: str) -> bool:
    """Whether the question begins by asking for such a thing: "Which airline ..."."""
    return question.casefold().startswith((f"what {kind} ", f"which {kind} "))


def holds(text: str, words: str) -> bool:
    """Whether `words` stand in `text` as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE) is not None


def _other(pool: Sequence[str], own: str, random: Random) -> str | None:
    if len(pool) < _FEWEST:
        return None
    drawn = random.choice(pool)
    return None if drawn.casefold() in own.casefold() or own.casefold() in drawn.casefold() else drawn


def _answer_form(question: str, answer: str) -> str | None:
    lead, words = _LEAD.search(question.casefold()), _WORD.findall(answer)
    if lead is None or not 0 < len(words) <= 4:
        return None
    shape = "".join("0" if any(c.isdigit() for c in one) else "A" if one[0].isupper() else "a" for one in words)
    return None if "a" in shape else f"{lead.group()} {shape}"


def _subjects(question: str) -> list[re.Match[str]]:
    kinds = [one for one in _KIND.finditer(question) if one.group() not in _NO_KIND]
    return [*_NAME.finditer(question), *_NOUN.finditer(question), *kinds]


def _subject_form(question: str, found: re.Match[str]) -> str:
    before = question[: found.start()].split()[-1].casefold()
    name = found.group()
    return f"{before} {len(name.split())}" if name[0].isupper() else f"{before} {name.endswith('s')}"
