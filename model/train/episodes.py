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
_OPEN: dict[str, list[str]] = _WORDINGS["open"]
INTROS: list[str] = _WORDINGS["intros"]
_KEYED = ("{k}", "{k}", "{k},", "{k}:", "({k})", "for {k}", "for {k},", "of {k}", "{k}'s", "{k} and")
_MADE = 0.85
"""Share of wordings that are made and not taken from the table."""


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
    about: str = ""
    """What a text must not tell of twice, if the question is to have one answer."""


def one_value(random: Random, words: Sequence[str], running: Sequence[str]) -> Episode:
    """A single value under a name of its own; `running` is text to take phrases from, word by word."""
    noun, value = _noun(random), _value(random)
    if random.random() < _MADE:
        said = _made(random, words, running, noun, keyed=False)
        asks = [_go_on("one", said, random, value, n=noun)]
    else:
        said = random.choice(_WORDINGS["one"]["facts"])
        asks = [_ask("one", said, random, value, n=noun)]
    return Episode([_fill(said, n=noun, v=value)], asks, noun)


def one_of_keys(random: Random, words: Sequence[str], running: Sequence[str]) -> Episode:
    """Values of several keys (names, or some of `words`) in one wording, of which one to four are asked for."""
    noun = _noun(random)
    keys = _distinct(random.choice((2, 4, 6, 8, 8, 8, 10, 12)), random, words)
    sample = _value(random)
    values = [_like(sample, random) for _ in keys]
    made = random.random() < _MADE
    said = _made(random, words, running, noun, keyed=True) if made else random.choice(_WORDINGS["keys"]["facts"])
    facts = [_fill(said, n=noun, k=key, v=value) for key, value in zip(keys, values, strict=True)]
    ask = _go_on if made else _ask
    asked = random.sample(range(len(keys)), min(random.randint(1, 4), len(keys)))
    return Episode(facts, [ask("keys", said, random, values[one], n=noun, k=keys[one]) for one in asked], noun)


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
    return Episode(facts, [_ask("chain", "", random, ", ".join(chains[0]), v=values[0])])


def common_words(random: Random, words: Sequence[str], items: int) -> Episode:
    """A list of about `items` of `words`, some of which it repeats far more often than the others."""
    wording = _WORDINGS["words"]
    count = max(min(random.choice((1, 2, 3, 5, 10)), items // 12), 1)
    often = random.randint(4, 10)
    rarely = random.randint(1, max(often // 3, 1))
    rest = max((items - count * often) // rarely, 2)
    drawn = random.sample(words, min(count + rest, len(words)))
    listed = drawn[:count] * often + drawn[count:] * rarely
    random.shuffle(listed)
    numbered = random.random() < 0.5
    lines = " ".join(f"{number}. {word}" if numbered else word for number, word in enumerate(listed, 1))
    answer = ", ".join(sorted(drawn[:count], key=listed.index))
    return Episode([f"{random.choice(wording['intros'])} {lines}"], [_ask("words", "", random, answer, n=str(count))])


def _ask(task: str, said: str, random: Random, answer: str, **names: str) -> Ask:
    """A question, the beginning of the answer's sentence, or both; `said` is how the fact was worded."""
    wording = _WORDINGS[task]
    question = _fill(random.choice(wording["questions"]), **names)
    draw = random.random()
    if draw < 0.4:
        return Ask(_fill(random.choice(_WORDINGS["answer"]["forms"]), q=question), f" {answer}\n")
    before, _, _ = said.partition("{v}")
    cues = all(f"{{{name}}}" in before for name in names)  # the fact names what it is about before its value
    stem = before.rstrip() if said and cues and random.random() < 0.5 else random.choice(wording["stems"])
    asked = f"\n{question}{random.choice(_OPEN['joints'])}" if draw < 0.8 else "\n"
    return Ask(asked + _fill(stem, **names), f" {answer}.\n")


def _made(random: Random, words: Sequence[str], running: Sequence[str], noun: str, keyed: bool) -> str:
    """A wording of its own, whose value comes last but for a tail: of parts, of any words, or a phrase of a text.

    One that is learned by heart is found and no other is: at 72M parameters ten wordings of each kind, and later parts
    alone, taught these and nothing else (docs/LOG.md).
    """
    draw, link = random.random(), random.choice(_OPEN["links"])
    if draw < 0.3:
        subject = random.choice(_OPEN["openers"]) + random.choice(_OPEN["keyed" if keyed else "single"])
    else:
        drawn = _phrase(random, running) if draw < 0.75 else []
        drawn = drawn or [random.choice(words) for _ in range(random.randint(2, 6))]
        if random.random() < 0.5:
            drawn.insert(random.randrange(len(drawn) + 1), "{n}")
        if keyed:
            drawn.insert(random.randrange(len(drawn) + 1), random.choice(_KEYED))
        subject = " ".join(drawn)
        if random.random() < 0.5:
            link = random.choice((" ", ", ")) + random.choice(words) + " "
    text = (subject + link + "{v}" + random.choice(_OPEN["tails"])).replace("{n}", noun)
    return text if text.startswith("{") else text[0].upper() + text[1:]


def _phrase(random: Random, running: Sequence[str]) -> list[str]:
    """Two to nine words that follow each other in `running`; none if it is too short or they hold braces."""
    size = random.randint(2, 9)
    if len(running) < size:
        return []
    start = random.randrange(len(running) - size + 1)
    found = list(running[start : start + size])
    return [] if any("{" in word or "}" in word for word in found) else found


def _go_on(task: str, said: str, random: Random, answer: str, **names: str) -> Ask:
    """What stood before the value once more, with or without a question before it."""
    stem = _fill(said.partition("{v}")[0].rstrip(), **names)
    draw = random.random()
    if draw < 0.4:
        return Ask(f"\n{stem}", f" {answer}.\n")
    question = _fill(random.choice(_WORDINGS[task]["questions"]), **names)
    return Ask(f"\n{question}{random.choice(_OPEN['joints'])}{stem}", f" {answer}.\n")


def _noun(random: Random) -> str:
    noun = random.choice(_WORDINGS["nouns"])
    return f"{random.choice(_WORDINGS['kinds'])} {noun}" if random.random() < 0.7 else str(noun)


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


def _distinct(count: int, random: Random, words: Sequence[str]) -> list[str]:
    """Different keys of one kind: `words`, names, invented words, or places."""
    if random.random() < 0.4:
        return random.sample(words, count)
    kinds = (invented.name, invented.person, invented.word, _place)
    draw = random.choice(kinds)
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw(random)] = None
    return list(found)


def _place(random: Random) -> str:
    return f"the {invented.word(random)} {random.choice(('house', 'road', 'file', 'team', 'boat'))}"
