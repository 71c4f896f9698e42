"""Things to remember and questions about them, to be hidden in long texts (as in RULER, Hsieh et al., 2024).

One value; one of several keys; variables that take over a value from each other; the most frequent words of a list.
Wordings come from `needles.toml`. Knows nothing about tokens; everything is drawn from the generator passed in.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

from model.train import invented

_WORDINGS = tomllib.loads((Path(__file__).parent / "needles.toml").read_text(encoding="utf-8"))
_NOUNS: list[str] = _WORDINGS["nouns"]
INTROS: list[str] = _WORDINGS["intros"]


@dataclass(frozen=True, slots=True)
class Ask:
    """What stands before the answer, and the answer with its leading space."""

    before: str
    answer: str


@dataclass(frozen=True, slots=True)
class Episode:
    """Sentences that are spread over a text in this order, and questions that come after the last of them."""

    facts: list[str]
    asks: list[Ask]


def one_value(random: Random) -> Episode:
    """A single value under a name of its own."""
    wording, noun, value = _WORDINGS["one"], random.choice(_NOUNS), _value(random)
    return Episode([_fill(random.choice(wording["facts"]), n=noun, v=value)], [_ask(wording, random, value, n=noun)])


def one_of_keys(random: Random) -> Episode:
    """Values of several keys in the same words, of which one to four are asked for."""
    wording, noun = _WORDINGS["keys"], random.choice(_NOUNS)
    keys = _distinct(random.choice((2, 4, 6, 8, 8, 8, 10, 12)), random)
    sample = _value(random)
    values = [_like(sample, random) for _ in keys]
    said = random.choice(wording["facts"])
    facts = [_fill(said, n=noun, k=key, v=value) for key, value in zip(keys, values, strict=True)]
    asked = random.sample(range(len(keys)), min(random.randint(1, 4), len(keys)))
    return Episode(facts, [_ask(wording, random, values[one], n=noun, k=keys[one]) for one in asked])


def chain(random: Random) -> Episode:
    """Variables that hand a value on, amid others that hand on another one: which hold the first?"""
    wording = _WORDINGS["chain"]
    first, following = random.choice(wording["first"]), random.choice(wording["next"])
    length, others = random.randint(2, 5), random.randint(0, 2)
    names = ["".join(random.choices("ABCDEFGHKLMNPQRSTUVWXYZ", k=random.randint(3, 5))) for _ in range(24)]
    names = list(dict.fromkeys(names))[: length * (1 + others)]
    chains = [names[start : start + length] for start in range(0, len(names), length)]
    values = [str(random.randint(10_000, 99_999)) for _ in chains]
    waiting = [
        [_fill(first, a=one[0], v=value)] + [_fill(following, a=a, b=b) for a, b in pairwise(one)]
        for one, value in zip(chains, values, strict=True)
    ]
    facts = []
    while any(waiting):  # interleaved, each chain in its order
        facts.append(random.choice([one for one in waiting if one]).pop(0))
    question = _fill(random.choice(wording["questions"]), v=values[0])
    return Episode(facts, [Ask(_fill(_form(random), q=question), f" {', '.join(chains[0])}\n")])


def common_words(random: Random, words: Sequence[str], items: int) -> Episode:
    """A list of about `items` of `words`, some of which it repeats far more often than the others."""
    wording, count = _WORDINGS["words"], random.choice((1, 2, 3, 5, 10))
    count = max(min(count, items // 12), 1)
    often = random.randint(4, 10)
    rarely = random.randint(1, max(often // 3, 1))
    rest = max((items - count * often) // rarely, 2)
    drawn = random.sample(words, min(count + rest, len(words)))
    listed = drawn[:count] * often + drawn[count:] * rarely
    random.shuffle(listed)
    numbered = random.random() < 0.5
    lines = " ".join(f"{number}. {word}" if numbered else word for number, word in enumerate(listed, 1))
    question = _fill(random.choice(wording["questions"]), n=str(count))
    answer = f" {', '.join(sorted(drawn[:count], key=listed.index))}\n"
    return Episode([f"{random.choice(wording['intros'])} {lines}"], [Ask(_fill(_form(random), q=question), answer)])


def _ask(wording: dict[str, list[str]], random: Random, answer: str, **names: str) -> Ask:
    """As a question, or as a sentence to be completed."""
    if random.random() < 0.25:
        return Ask("\n" + _fill(random.choice(wording["stems"]), **names), f" {answer}.\n")
    question = _fill(random.choice(wording["questions"]), **names)
    return Ask(_fill(_form(random), q=question), f" {answer}\n")


def _form(random: Random) -> str:
    form: str = random.choice(_WORDINGS["answer"]["forms"])
    return form


def _fill(template: str, **names: str) -> str:
    return template.format(**names)


def _value(random: Random) -> str:
    """Mostly digits, since those can be copied and not guessed."""
    draw = random.random()
    if draw < 0.75:
        size = random.choice((4, 5, 5, 6, 7, 7))
        return str(random.randint(10 ** (size - 1), 10**size - 1))
    return invented.value("code", random) if draw < 0.9 else invented.word(random)


def _like(value: str, random: Random) -> str:
    """Another value of the same form."""
    while True:
        other = _value(random)
        if len(other) == len(value) and other.isdigit() == value.isdigit():
            return other
        if not value.isdigit() and not other.isdigit():
            return other


def _distinct(count: int, random: Random) -> list[str]:
    """Different keys of one kind: names, invented words, or things."""
    kinds = (invented.name, invented.person, invented.word, _place)
    draw = random.choice(kinds)
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw(random)] = None
    return list(found)


def _place(random: Random) -> str:
    return f"the {invented.word(random)} {random.choice(('house', 'road', 'file', 'team', 'boat'))}"
