"""What is known of a memory when it is written, as numbers that its later use may depend on. Pure functions.

Content features read the text alone (English word lists; of other languages only length, digits, names and signs
speak). Store features compare it with what was there before. Context features come from its neighbours in the session.
N memories, C content features, F all features, D embedding dim.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_WORD = re.compile(r"[A-Za-z][A-Za-z'’]*|\d[\d.,:]*")
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][a-z]+")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_EMPTY = frozenset(
    """the a an and or but of to in on at for with is are was were be been it its this that i you he she they we my your
    his her our their me him them us so as if not no do does did have has had will would can could should just about
    from by up out what how when where who which there here then than very really too also more some any all""".split()  # noqa: SIM905  words read best as words
)
_I = frozenset("i i'm i've i'd me my mine we our".split())  # noqa: SIM905  words read best as words
_YOU = frozenset("you your you're you've".split())  # noqa: SIM905  words read best as words


def _words(alternatives: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(alternatives.split())})\b", re.IGNORECASE)


_COUNTED: dict[str, re.Pattern[str]] = {
    "numbers": re.compile(r"\d+"),
    "months": _words(r"jan(?:uary)? feb(?:ruary)? march april may june july aug(?:ust)? sep\w* oct\w* nov\w* dec\w*"),
    "times": _words(
        r"yesterday today tomorrow tonight last next ago week(?:end)?s? months? years? days? \w+day morning evening"
        r" since recently summer winter spring fall"
    ),
    "names": _NAME,
    "asks_for": _words(r"(?:can|could|would|will)\syou help\sme please show\sme tell\sme what's"),
    "wishes": _words(
        r"prefer\w* love\w* like enjoy\w* hate\w* favou?rite always never want\w* need\w* plan\w* decid\w* cho(?:o)?se"
        r" hope\w* goal dream interested"
    ),
    "past": _words(
        r"\w+ed went got made had took bought saw met found won lost gave came did read wrote ran built been"
    ),
    "changes": _words(
        r"now increased decreased updated changed moved completed finished reduced improved switched new extended"
        r" added raised recently"
    ),
    "pleasantries": _words(
        r"wow thanks? awesome great cool nice amazing congrats sounds glad agree absolutely definitely yeah yep"
        r" totally hey hi hello bye sure okay ok wonderful fantastic good\sluck take\scare"
    ),
    "people": _words(
        r"mom mother dad father wife husband son daughter kids? brother sister friend boss partner family dog cat pet"
        r" colleague mentor team"
    ),
    "amounts": re.compile(r"[$€£]\s?\d|\d+\s?(?:%|percent|dollars|hours|miles|km|kg|ms|pages|words)"),
    "quotations": re.compile(r"[\"“][^\"”]{2,60}[\"”]|'[A-Z][^']{2,40}'"),
    "exclamations": re.compile("!"),
    "commas": re.compile(","),
}
_CODE = re.compile(r"```|[{};]\s*\n|</?\w+>|def \w+\(|import \w+")

CONTENT = (
    "length",
    "length_squared",
    "first_person",
    "second_person",
    "ends_in_question",
    "questions",
    "statements",
    "code",
    "content_words",
    *_COUNTED,
    "names_per_word",
    "first_person_per_word",
    "past_per_word",
    "pleasantries_per_word",
)
STORE = ("new_words", "new_words_share", "novelty", "familiarity", "like_previous")
CONTEXT = (
    "place_in_session",
    "session_length",
    "share_of_session",
    "off_middle",
    "opening",
    "answers_question",
    "previous_length",
    "next_length",
    "is_asked_about",
    "next_pleasantries",
    "like_next",
    "younger_than",
)
HISTORY = ("uses", "uses_week", "uses_month", "unused", "since_use")
"""Counts of uses ever and at half-lives of 7 and 30 days, of showings without use, and days since the last use."""

NAMES = (*CONTENT, *STORE, *CONTEXT, *HISTORY)


def content_words(text: str) -> frozenset[str]:
    """The words of a text that carry something."""
    return frozenset(word.lower() for word in _WORD.findall(text)) - _EMPTY


def content(text: str) -> Floats:
    """The features [C] that the text alone gives."""
    words = [word.lower() for word in _WORD.findall(text)]
    length = max(1, len(words))
    sentences = [sentence for sentence in SENTENCE_END.split(text) if sentence.strip()]
    asked = sum(sentence.rstrip().endswith("?") for sentence in sentences)
    counts = {name: len(pattern.findall(text)) for name, pattern in _COUNTED.items()}
    first = sum(word in _I for word in words)
    values = {
        "length": np.log(length),
        "length_squared": np.log(length) ** 2,
        "first_person": np.log1p(first),
        "second_person": np.log1p(sum(word in _YOU for word in words)),
        "ends_in_question": text.rstrip().endswith("?"),
        "questions": asked / max(1, len(sentences)),
        "statements": np.log1p(len(sentences) - asked),
        "code": _CODE.search(text) is not None,
        "content_words": sum(word not in _EMPTY for word in words) / length,
        **{name: np.log1p(count) for name, count in counts.items()},
        "names_per_word": counts["names"] / length,
        "first_person_per_word": first / length,
        "past_per_word": counts["past"] / length,
        "pleasantries_per_word": counts["pleasantries"] / length,
    }
    return np.array([values[name] for name in CONTENT], np.float64)


def against_store(fresh: int, total: int, cosines: Floats, previous: float) -> Floats:
    """How a text differs from those before it: [5].

    `fresh` of its `total` content words never stood in an earlier memory; `cosines` with earlier ones, in any order;
    `previous` with the memory just before in its session (0 without one).
    """
    nearest = np.sort(cosines)[::-1]
    novelty = 1.0 - max(float(nearest[0]), 0.0) if len(nearest) else 1.0
    familiarity = float(nearest[:5].mean()) if len(nearest) >= 5 else 0.0
    return np.array([np.log1p(fresh), fresh / max(1, total), novelty, familiarity, previous])


def in_context(written: Floats, sessions: NDArray[np.int64]) -> Floats:
    """Features [N, len(CONTEXT)] from the neighbours of memories in order of writing.

    `written` [N, C + len(STORE)]; `sessions` [N] numbers their sessions, those of one session standing together.
    """
    count = len(sessions)
    if not count:
        return np.zeros((0, len(CONTEXT)))
    column = {name: index for index, name in enumerate((*CONTENT, *STORE))}
    starts = np.flatnonzero(np.r_[True, sessions[1:] != sessions[:-1]])
    lengths = np.diff(np.r_[starts, count])
    place = np.arange(count) - np.repeat(starts, lengths)
    length = np.repeat(lengths, lengths)
    share = place / length
    has_previous, has_next = place > 0, place < length - 1
    previous = np.where(has_previous[:, None], np.roll(written, 1, axis=0), 0.0)
    following = np.where(has_next[:, None], np.roll(written, -1, axis=0), 0.0)
    return np.column_stack(
        [
            np.log1p(place),
            np.log(length),
            share,
            np.abs(share - 0.5),
            place < 2,
            previous[:, column["ends_in_question"]],
            previous[:, column["length"]],
            following[:, column["length"]],
            following[:, column["questions"]] > 0,
            following[:, column["pleasantries"]],
            following[:, column["like_previous"]],
            np.arange(count) / count,
        ]
    )


def history(uses: Sequence[float], unused: int, now: float) -> Floats:
    """Features [len(HISTORY)] of the times in days at which a memory was used, and how often it was shown in vain."""
    ages = np.maximum(now - np.asarray(uses, np.float64), 0.0)
    decayed = [float(np.log1p((0.5 ** (ages / half)).sum())) for half in (7.0, 30.0)]
    since = float(np.log1p(ages.min())) if len(ages) else 0.0
    return np.array([np.log1p(len(ages)), *decayed, np.log1p(unused), since])
