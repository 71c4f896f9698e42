"""The one thing a statement gives the value of: "my office is in B12" fills the slot `my office|in`.

Two statements of one slot with different values cannot both hold now, so the later supersedes the earlier. Only slots
that hold a single value by their nature are named here; "my friend is Anna" has none, for a person has many friends.
"""

import re
from dataclasses import dataclass

from memory.duplicates import normalised

# Nouns of which a person or thing has one at a time.
_SINGLE = frozenset(
    """name surname nickname email mail address phone number birthday age job title profession occupation employer
    company boss manager supervisor wife husband spouse partner fiancé fiancée girlfriend boyfriend home house office
    desk room hometown city country timezone zone password pin code passport nationality height weight size salary rent
    budget deadline dentist doctor landlord seat floor extension username handle login account iban wifi ssid wedding
    major degree school university capital owner location version status""".split()  # noqa: SIM905  reads best as words
)
_FAVOURITE = re.compile(r"\b(?:favou?rite|preferred|main|primary|default|current)\b")
_NOISE = re.compile(
    r"\b(?:now|currently|current|new|actually|as of today|these days|from now on|anymore|any more|no longer|not)\b"
)
_ARTICLE = re.compile(r"^(?:the|a|an)\s+")
_SUBJECT = r"(?P<subject>i|we|(?:my|our|the)\s+[^,;:.!?]{1,60}?|[a-z][\w'\-]*(?:'s\s+[^,;:.!?]{1,40}?)?)"
_PRONOUNS = frozenset("it he she they this that there here what who you everyone everybody someone nobody one".split())  # noqa: SIM905  words read best as words
_WHEN = re.compile(
    r"\b(?:\d{1,2}(?::\d\d)?\s*(?:am|pm)|\d{1,2}:\d\d|noon|midnight|o'clock|today|tomorrow|tonight|\d{4}-\d\d-\d\d|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|jan(?:uary)?|feb(?:ruary)?|march|april|may|june|july|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b"
)
_CLAUSE_END = re.compile(r"[,;]|\s+(?:and|but|because|so|since|with|where|which|who|as of)\s")

_LIVE = re.compile(
    rf"^{_SUBJECT}(?:\s+am|\s+are|\s+is)?\s+(?:now\s+)?(?:lives?|living|moved|based|reside[sd]?)\s+(?:now\s+)?(?:in|at|to|on)\s+(?P<value>.+)$"
)
_WORK_AT = re.compile(
    rf"^{_SUBJECT}(?:\s+am|\s+is)?\s+(?:now\s+)?(?:works?|working|employed)\s+(?:now\s+)?(?:at|for|by)\s+(?P<value>.+)$"
)
_WORK_AS = re.compile(rf"^{_SUBJECT}(?:\s+am|\s+is)?\s+(?:now\s+)?(?:works?|working)\s+(?:now\s+)?as\s+(?P<value>.+)$")
_AGE = re.compile(rf"^{_SUBJECT}\s+(?:am|is|turned)\s+(?P<value>\d{{1,3}})(?:\s+years?\s+old)?$")
_CALLED = re.compile(r"^(?:call me|i am called|i am named|my name is|i go by)\s+(?P<value>.+)$")
_IS = re.compile(
    rf"^{_SUBJECT}\s+(?P<verb>is|are|was moved to|moved to|is called|is named)\s+(?:now\s+)?"
    r"(?:(?P<place>in|at|on)\s+)?(?P<value>.+)$"
)
_ATTITUDE = re.compile(
    r"^(?P<subject>i|we)\s+(?:really\s+|always\s+|do\s+)?(?P<no>not\s+)?"
    r"(?P<verb>like|love|enjoy|adore|hate|dislike|detest|can not stand)\s+(?P<value>.+)$"
)
_STYLE = re.compile(
    r"^(?P<subject>i|we)\s+(?:would\s+)?(?:prefer|want|like)\s+(?P<value>.*\b(?:answers|replies|responses|explanations|summaries)\b.*)$"
)
_NEGATIVE = frozenset({"hate", "dislike", "detest", "can not stand"})
_GONE = re.compile(r"\b(?:no longer|any ?more)\b")


@dataclass(frozen=True, slots=True)
class Slot:
    """`key` names the subject and relation; `value` is what the statement fills it with, normalised.

    `gone`: the statement says that the value holds no longer, without naming the next.
    """

    key: str
    value: str
    gone: bool = False


def find_slot(text: str) -> Slot | None:
    """The slot that a statement fills, None if it fills none that holds a single value."""
    plain = _plain(text)
    gone = bool(_GONE.search(plain))
    bare = " ".join(_NOISE.sub(" ", plain).split()) if gone else plain
    bare = bare.replace("i do live", "i live").replace("i do work", "i work")
    for pattern, relation in (
        (_CALLED, None),
        (_LIVE, "lives"),
        (_WORK_AT, "works at"),
        (_WORK_AS, "works as"),
        (_AGE, "age"),
    ):
        if match := pattern.match(bare):
            subject = "my name" if relation is None else _subject(match["subject"])
            if subject in _PRONOUNS:
                return None
            if relation == "lives" and subject not in ("i", "we") and not _is_person(match["subject"]):
                relation = "place"  # "my office moved to B12" and "my office is in B12" fill one slot
            return Slot(f"{subject}|{relation or 'is'}", _value(match["value"]), gone)
    if match := _STYLE.match(bare):
        noun = re.search(r"answers|replies|responses|explanations|summaries", match["value"])
        return Slot(f"i|style|{noun[0] if noun else ''}", _value(match["value"]), gone)
    if match := _ATTITUDE.match(bare):
        disliked = (match["verb"] in _NEGATIVE) != bool(match["no"] or gone)
        return Slot(f"{match['subject']}|attitude|{_value(match['value'])}", "dislike" if disliked else "like")
    if match := _IS.match(bare):
        subject = _subject(match["subject"])
        value = match["value"]
        if subject in ("i", "we") or subject in _PRONOUNS or value.startswith("not "):
            return None
        if _WHEN.search(value):
            return Slot(f"{subject}|when", _value(value), gone) if _holds_one(subject) else None
        if match["place"] or "moved" in match["verb"]:
            return Slot(f"{subject}|place", _value(value), gone)
        if _holds_one(subject):
            return Slot(f"{subject}|is", _value(value), gone)
    return None


def changes(new: Slot, old: Slot) -> bool:
    """Whether `new` makes `old` a thing of the past: one slot, and a value that is neither the same nor part of it."""
    if new.key != old.key or old.gone:
        return new.key == old.key and not new.gone
    same = f"{new.value} ".startswith(f"{old.value} ") or f"{old.value} ".startswith(f"{new.value} ")
    return same if new.gone else not same


def _plain(text: str) -> str:
    plain = normalised(text)
    for short, full in (
        ("i'm", "i am"),
        ("we're", "we are"),
        ("i've", "i"),
        ("can't", "can not"),
        ("cannot", "can not"),
    ):
        plain = re.sub(rf"\b{short}\b", full, plain)
    plain = re.sub(r"n't\b", " not", plain)
    return re.sub(r"^(?:actually|well|so|also|and|btw|by the way|now|currently|today),?\s+", "", plain)


def _subject(text: str) -> str:
    bare = re.sub(r"\b(?:new|current|actual|now)\b", " ", text)
    return " ".join(re.sub(r"^our\b", "my", bare).replace("favorite", "favourite").split())


def _is_person(subject: str) -> bool:
    """A bare name, or a possessive that does not own a place: those live somewhere, an office stands there."""
    return subject.split()[-1] not in _SINGLE


def _holds_one(subject: str) -> bool:
    if not subject.startswith(("my ", "the ")) and "'s " not in subject:
        return False
    head = re.split(r"\s+(?:of|for)\s+", subject)[0].split()[-1]
    return bool({head, subject.split()[-1]} & _SINGLE or _FAVOURITE.search(subject))


def _value(text: str) -> str:
    return _ARTICLE.sub("", " ".join(_NOISE.sub(" ", _CLAUSE_END.split(text)[0]).split())).strip(" ,")
