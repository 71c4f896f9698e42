"""Makes a question and its answer from one declarative sentence, by rules.

Cheap and imperfect on purpose: the questions teach to find the sentence that shares the question's words and to take
from it the part that the question word asks for.
"""

import re
import tomllib
from pathlib import Path
from random import Random

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_NAME = r"(?:[A-Z][\w'’.-]*[\w'’](?: (?:of|the|de|van|von|and|del|la)(?= [A-Z]))?(?: |(?=\W|$)))+"
_TIMES = re.compile(
    rf"\b(?:(in|on|by|since|until) )?((?:\d{{1,2}} )?{_MONTH}(?: \d{{1,2}},)?(?: \d{{4}})?|1\d{{3}}|20[0-3]\d)\b"
)
_NUMBER = re.compile(
    r"\b(\d[\d,.]*\d|\d|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|hundreds|thousands)"
    r" ((?:[a-z]+ )?[a-z]{3,}s)\b"
)
_PLACE = re.compile(rf"\b(in|at|from|near) ((?:the )?{_NAME})")
_PASSIVE = re.compile(
    r"^(?P<subject>[A-Z][^,;:()]{2,70}?) (?P<aux>was|were|is|are) "
    r"(?P<verb>(?:first |also |originally |later )?"
    r"(?:\w+ed|born|built|made|held|known|found|written|won|sold|shot|sunk|set up))"
    r"(?P<rest>[^;:()]*)$"
)
_BY = re.compile(rf"\bby ((?:the )?{_NAME})")
_SUBJECT = re.compile(
    rf"^((?:The )?{_NAME})((?:\w+ed|was|is|became|wrote|won|led|had|made|took|gave|began|built|has) .{{12,}})$"
)
_DEFINED = re.compile(
    r"^([A-Z][^,;:()]{2,50}?) (is|was|are|were) ((?:an?|the|one of) [^,;:()]{5,90}?)"
    r"(?= (?:who|which|that|where) |[,.;]|$)"
)
_BECAUSE = re.compile(r"^(.{15,120}?),? (because|in order to|due to|so that) (.{8,100}?)[.,;]?$")

_SYNONYMS: dict[str, list[str]] = tomllib.loads((Path(__file__).parent / "synonyms.toml").read_text(encoding="utf-8"))
_CAPITALS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_STOP_WORDS = """
    the a an of in on at to is are was were be been by for with and or that this it its as from which who has have had
    what when where how many much did does do will can
"""
_STOP = frozenset(_STOP_WORDS.split())


def sentences(text: str) -> list[str]:
    """A paragraph's sentences, split at full stops that a capital follows."""
    return [one for one in re.split(r"(?<=[a-z0-9)\]\"”’][.!?]) +(?=[\"“(]?[A-Z0-9])", text) if one]


def _lower_start(text: str) -> str:
    first = text.split(" ", 1)[0]
    return (
        text[0].lower() + text[1:]
        if first in ("The", "A", "An", "This", "These", "His", "Her", "Its", "Their")
        else text
    )


def make_question(sentence: str, title: str, random: Random) -> tuple[str, str] | None:
    """A question and the span of `sentence` that answers it; None where no rule fits.

    A pronoun that begins the sentence is replaced by `title` in the question.
    """
    plain = re.sub(r" ?\([^)]*\)", "", sentence) if random.random() < 0.7 else sentence
    found = [made for rule in _RULES if (made := rule(plain.rstrip(".!? "), random)) is not None]
    found = [(asked, answer) for asked, answer in found if answer and answer in sentence and 0 < len(answer) <= 110]
    found = [(asked, answer) for asked, answer in found if 3 <= len(asked.split()) <= 30]
    if not found or sentence[0] not in _CAPITALS:
        return None
    asked, answer = random.choice(found)
    asked = (
        re.sub(r"^(.{0,18}?)\b(?:He|She|It|They|he|she|it)\b", lambda m: m[1] + title, asked, count=1)
        if title
        else asked
    )
    return _noise(asked, random), answer


def _around(sentence: str, start: int, end: int, asking: str, random: Random) -> str:
    """The sentence with a question word in place of a span, at times cut to the clause around it."""
    before, after = sentence[:start], sentence[end:]
    if random.random() < 0.6:
        after = re.split(r"[,;:]| and | but | while | where | which ", after, maxsplit=1)[0]
    if random.random() < 0.5 and len(before) > 60:
        before = re.split(r"[,;:] ", before)[-1]
    return f"{before}{asking}{after}".strip()


def _when(sentence: str, random: Random) -> tuple[str, str] | None:
    times = list(_TIMES.finditer(sentence))
    if not times:
        return None
    time = random.choice(times)
    year = time[2].isdigit()
    passive = _PASSIVE.match(sentence)
    if passive and time[1] and time.start() > passive.start("rest"):
        middle = sentence[passive.start("rest") : time.start()].rstrip(" ,")
        asking = random.choice(
            ("When", "When", "In what year" if year else "On what date", "In which year" if year else "When")
        )
        return f"{asking} {passive['aux']} {_lower_start(passive['subject'])} {passive['verb']}{middle}?", time[2]
    asking = random.choice(("when", "what year", "which year") if year else ("when", "what date"))
    start = time.start() if asking == "when" else time.start(2)
    return _around(sentence, start, time.end(), asking, random) + "?", time[2]


def _how_many(sentence: str, random: Random) -> tuple[str, str] | None:
    numbers = list(_NUMBER.finditer(sentence))
    if not numbers:
        return None
    number = random.choice(numbers)
    rest = _around(sentence, number.start(1), number.end(1), "how many", random)
    if random.random() < 0.5:
        bare = _around(sentence, number.start(), number.end(), "", random)
        link = random.choice(("are there when", "does it say", "in", "when"))
        rest = f"How many {number[2]} {link} {_lower_start(bare)}"
    return " ".join(rest.split()) + "?", number[1]


def _where(sentence: str, random: Random) -> tuple[str, str] | None:
    places = list(_PLACE.finditer(sentence))
    if not places:
        return None
    place = random.choice(places)
    answer = place[2].strip()
    passive = _PASSIVE.match(sentence)
    if passive and place.start() > passive.start("rest"):
        middle = sentence[passive.start("rest") : place.start()].rstrip(" ,")
        return f"Where {passive['aux']} {_lower_start(passive['subject'])} {passive['verb']}{middle}?", answer
    asking = random.choice(("where", f"{place[1]} what place", f"{place[1]} which place"))
    return _around(sentence, place.start(), place.end(2), f"{asking} ", random) + "?", answer


def _who(sentence: str, random: Random) -> tuple[str, str] | None:
    passive, by = _PASSIVE.match(sentence), _BY.search(sentence)
    if passive and by and random.random() < 0.7:
        middle = sentence[passive.start("rest") : by.start()].rstrip(" ,")
        form = random.choice(
            (
                "Who {verb} {subject}{middle}?",
                "By whom {aux} {subject} {verb}{middle}?",
                "Who {aux} {subject} {verb} by{middle}?",
            )
        )
        return form.format(
            verb=passive["verb"], subject=_lower_start(passive["subject"]), middle=middle, aux=passive["aux"]
        ), by[1].strip()
    subject = _SUBJECT.match(sentence)
    if subject and not subject[1].startswith(("It ", "He ", "She ", "They ", "This ", "There ", "In ", "A ", "These ")):
        rest = re.split(r"[,;:]", subject[2])[0] if random.random() < 0.6 else subject[2]
        asking = random.choice(("Who", "Who", "What", "Which one"))
        return f"{asking} {rest}?", subject[1].strip()
    return None


def _what_is(sentence: str, random: Random) -> tuple[str, str] | None:
    defined = _DEFINED.match(sentence)
    if not defined or defined[1].startswith(("There", "It", "This", "That", "Other", "These")):
        return None
    form = random.choice(
        (
            "What {aux} {subject}?",
            "Who or what {aux} {subject}?",
            "What kind of thing {aux} {subject}?",
            "define {subject}",
        )
    )
    return form.format(aux=defined[2], subject=_lower_start(defined[1])), defined[3]


def _why(sentence: str, random: Random) -> tuple[str, str] | None:
    reason = _BECAUSE.match(sentence)
    if not reason:
        return None
    passive = _PASSIVE.match(reason[1])
    if passive:
        return f"Why {passive['aux']} {_lower_start(passive['subject'])} {passive['verb']}{passive['rest']}?", reason[3]
    return f"Why is it that {_lower_start(reason[1])}?", reason[3]


_RULES = (_when, _how_many, _where, _who, _what_is, _why)


def _noise(question: str, random: Random) -> str:
    """Other words for some, and the forms that people type: no capitals, no question mark, key words only."""
    words = question.split(" ")
    words = [random.choice(_SYNONYMS[one]) if one in _SYNONYMS and random.random() < 0.5 else one for one in words]
    style = random.random()
    if style < 0.12:
        kept = [one for one in words if one.lower().strip("?,.") not in _STOP]
        question = " ".join(kept).rstrip("?")
    else:
        question = " ".join(words)
        if style < 0.5:
            # Lose some of the wording, so that not every question is a copy of its sentence.
            question = " ".join(one for one in question.split(" ") if one.lower() in _STOP or random.random() < 0.85)
    return vary(question, random)


def vary(question: str, random: Random) -> str:
    """At times without capitals or without the question mark."""
    if random.random() < 0.15:
        question = question.lower()
    if random.random() < 0.12:
        question = question.rstrip("?")
    return question[:1].upper() + question[1:] if random.random() < 0.85 else question
