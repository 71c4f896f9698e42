"""The four tasks of `loci eval context`: what is hidden, what is asked, and what counts as found.

After RULER (Hsieh et al., 2024, arXiv 2404.06654): passkey retrieval, one needle among eight keys, variable tracking
through a chain of assignments, and the most common words of a list. Knows nothing about models.
"""

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from app.evaluation.haystack import Haystack, read_haystack, wordings

TASKS = ("passkey", "multikey", "tracking", "common")
WITHOUT_DEPTH = frozenset({"common"})
"""A list of words hides nothing at one place."""
_KEYS = 8
_CHAIN = 5
"""Variables of a chain: four hops. A second chain with another value stands in the text, too."""
_COMMON = 10
_RATIO = 10
"""How much more often a common word comes up than another one."""
_FOILS = 9


@dataclass(frozen=True, slots=True)
class Place:
    """Which trial this is: it decides every random choice."""

    seed: int
    length: int
    depth: float
    trial: int

    def shared(self, what: str) -> Random:
        """Choices that hold for all depths of a trial, so that their prompts begin alike."""
        return Random(f"{self.seed} {self.length} {self.trial} {what}")

    def own(self, what: str) -> Random:
        return Random(f"{self.seed} {self.length} {self.trial} {self.depth} {what}")


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing to find in a text of any length."""

    intro: str
    text: Callable[[int], str]
    """The text in so many words or entries."""
    least: int
    """Fewest words or entries that it can be made of."""
    question: str
    lead: str
    """How an answer begins."""
    gold: tuple[str, ...]
    candidates: tuple[str, ...]
    """What may be scored as an answer, the gold ones among them."""
    form: re.Pattern[str]
    """What answers look like in prose."""
    named: frozenset[str]
    """If not empty, the only ones that count as answers, in small letters; prose around them is passed over."""
    written: int
    """Tokens that suffice for an answer."""
    guess: float
    """Share that a blind choice among the things named in the text gets right, in prose."""

    def found(self, said: str) -> list[str]:
        """The first answers in `said`, as many as there are right ones."""
        answers = self.form.findall(said)
        if self.named:
            answers = [small for one in answers if (small := one.lower()) in self.named]
        return list(dict.fromkeys(answers))[: len(self.gold)]

    def score(self, answers: list[str]) -> float:
        """Share of the right answers among `answers`."""
        return len(set(answers) & set(self.gold)) / len(self.gold)


def probe(task: str, place: Place, haystack: Haystack) -> Probe:
    """The probe of `task` (one of `TASKS`) at `place`."""
    return {"passkey": _passkey, "multikey": _multikey, "tracking": _tracking, "common": _common}[task](place, haystack)


def _passkey(place: Place, haystack: Haystack) -> Probe:
    words, drawn = wordings()["passkey"], place.own("passkey")
    value, *foils = _numbers(drawn, 1 + _FOILS, 5)
    needles = [(place.depth, words["needle"].format(value=value))]
    return Probe(
        words["intro"], _hidden(place, haystack, needles), 0, words["question"], words["lead"],
        (value,), _mixed(drawn, [value, *foils]), re.compile(r"\d+"), frozenset(), 32, 1 / 90_000,
    )  # fmt: skip


def _multikey(place: Place, haystack: Haystack) -> Probe:
    words, shared, drawn = wordings()["multikey"], place.shared("multikey"), place.own("multikey")
    key, *others = shared.sample(words["keys"], _KEYS)
    values = _numbers(shared, _KEYS - 1, 7)
    value = next(one for one in _numbers(drawn, _KEYS, 7) if one not in values)
    needles = [(place.depth, words["needle"].format(key=key, value=value))]
    needles += [
        (shared.random(), words["needle"].format(key=other, value=number))
        for other, number in zip(others, values, strict=True)
    ]
    return Probe(
        words["intro"], _hidden(place, haystack, needles), 0,
        words["question"].format(key=key), words["lead"].format(key=key),
        (value,), _mixed(drawn, [value, *values]), re.compile(r"\d+"), frozenset(), 32, 1 / _KEYS,
    )  # fmt: skip


def _tracking(place: Place, haystack: Haystack) -> Probe:
    """The chain begins at the depth asked for; the rest of it is spread from there to the end."""
    words, shared, drawn = wordings()["tracking"], place.shared("tracking"), place.own("tracking")
    other, value = _numbers(shared, 2, 5)
    beside = _names(shared)
    chains = (_names(drawn, beside), beside)
    starts = (place.depth, shared.random())
    needles = []
    for names, start, held in zip(chains, starts, (value, other), strict=True):
        for number, name in enumerate(names):
            wording = words["next"] if number else words["first"]
            said = wording.format(name=name, value=held, before=names[number - 1])
            needles.append((start + (1 - start) * number / _CHAIN, said))
    asked = {"count": _CHAIN, "value": value}
    return Probe(
        words["intro"], _hidden(place, haystack, needles), 0,
        words["question"].format(**asked), words["lead"].format(**asked),
        tuple(chains[0]), _mixed(drawn, [*chains[0], *chains[1]]), re.compile(r"\b[A-Z]{5}\b"), frozenset(), 64, 0.5,
    )  # fmt: skip


def _common(place: Place, haystack: Haystack) -> Probe:
    words, drawn = wordings()["common"], place.own("common")
    vocabulary = haystack.vocabulary if len(haystack.vocabulary) >= 10 * _COMMON else read_haystack(None).vocabulary
    said = " ".join((words["intro"], words["question"], words["lead"])).lower().split()
    known = [one for one in vocabulary if one not in said]  # an answer that repeats the question names no word
    known = drawn.sample(known, min(len(known), 10_000))
    common, others = known[:_COMMON], known[_COMMON:]
    order = drawn.random()

    def entries(count: int) -> str:
        """A word that is not common comes up three times, in short lists once, in lists beyond the vocabulary more."""
        least = 3 if count >= 6 * _COMMON * _RATIO else 1
        times = max(least, -(-count // (_COMMON * _RATIO + len(others))))
        rest = count - times * _RATIO * _COMMON
        fill = others[: -(-rest // times)] * times
        listed = [*(common * (times * _RATIO)), *fill[:rest]]
        Random(order).shuffle(listed)
        return " ".join(f"{number}. {word}" for number, word in enumerate(listed, 1))

    asked = {"count": _COMMON}
    candidates = [*common, *others[:_COMMON]]
    return Probe(
        words["intro"], entries, _COMMON * (_RATIO + 1), words["question"].format(**asked),
        words["lead"].format(**asked), tuple(common), _mixed(drawn, candidates),
        re.compile(r"[^\W\d_]+"), frozenset(known), 128, _COMMON / len(known),
    )  # fmt: skip


def _hidden(place: Place, haystack: Haystack, needles: list[tuple[float, str]]) -> Callable[[int], str]:
    start = place.shared("haystack").randrange(len(haystack.words))
    return lambda count: haystack.window(start, count, needles)


def _numbers(drawn: Random, count: int, digits: int) -> list[str]:
    return [str(one) for one in drawn.sample(range(10 ** (digits - 1), 10**digits), count)]


def _names(drawn: Random, taken: Sequence[str] = ()) -> list[str]:
    """Variables of five letters, other ones than those `taken`."""
    names: dict[str, None] = {}
    while len(names) < _CHAIN:
        name = "".join(drawn.choices(string.ascii_uppercase, k=5))
        if name not in taken:
            names[name] = None
    return list(names)


def _mixed(drawn: Random, items: list[str]) -> tuple[str, ...]:
    return tuple(drawn.sample(items, len(items)))
