"""What a question is about, and how it reads without the conversation around it. Rules; a chat model may do it better.

Knows nothing about documents; no question of any data set is written here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app import prompts
from app.sentences import STOP_WORDS, content_words, word_ranges
from memory.extract import only_tells
from model.engine import Delta, Engine, Message, Request, Sampling

Kind = Literal["library", "catalogue", "table", "summary", "every", "steps", "plain", "statement", "memory"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """An earlier question (as it stood alone) and its answer."""

    question: str
    answer: str
    number: int = 1
    """which turn of its session it was"""


# ---- kind -----------------------------------------------------------------------------------------

_THINGS = (
    r"(?:documents?|files?|pdfs?|spreadsheets?|presentations?|slides|books?|papers?|sources?|collections?"
    r"|notes?|e-?mails?|texts?|dokumente?|dateien?|documentos?|archivos?|fichiers?)"
)
_OWN = r"(?:my|our|the|this|your) (?:library|collections?|catalogue|catalog|index)"
_CATALOGUE = re.compile(
    rf"^(?:and |so |please |can you |could you )*(?:(?:how many|which|what|list|show|name|count"
    rf"|give me(?: a list)?)(?: me)?(?: all| of)*(?: the| my| your| our)*(?: \w+)? {_THINGS}"
    rf"(?: (?:do|does|are|is|have|has|can|did|there|you|i|we|in|here|there|got|know|stored|indexed|ingested"
    rf"|available|loaded|exist|currently|now|my|the|your|our|library|collection|main|of|about|added|"
    rf"last|latest|newest|total|altogether|please|been))*\W*$"
    rf"|(?:how (?:many|big|large|much)|what|which|list|show|when)\b.*\b(?:in|is|of|are|has|was) {_OWN}(?: (?:have"
    rf"|has|hold|contain|contains|now|updated|changed|ingested))*\W*$"
    rf"|(?:do|have) (?:you|i|we) (?:have |got |know )?any {_THINGS}\W*$"
    rf"|(?:cuántos|qué|wie viele|welche|combien de|quels) {_THINGS}\b.{{0,40}}$|(?:我"
    rf"|你)?.{{0,6}}(?:有)?(?:多少|哪些)(?:个"
    rf"|份)?(?:文件|文档).{{0,6}}$)",
    re.IGNORECASE,
)
_PLAIN = re.compile(
    r"^(?:please |can you |could you |would you |hey,? |now )*(?:write|compose|draft|code|implement|refactor|debug"
    r"|translate|rewrite|rephrase|tell me a (?:joke|story)|brainstorm|generate|create|make up|"
    r"invent|calculate|compute|solve|convert|suggest a name|sing|draw|pretend|act as|schreibe?|übersetze|escribe"
    r"|traduce|écris|traduis)\b(?!.*\b(?:summary|documents?|passages?|library|files?|notes|report)\b)"
    r"|^(?:hi|hello|hey|good (?:morning|evening|afternoon)|thanks?(?: you)?|thank you(?: very much)?|hallo|hola"
    r"|bonjour|danke|gracias|merci)\b[\s\w,!.]{0,20}$"
    r"|^(?:who|what) are you\b|^what can you do\b|^[\d\s.+*/()^-]+\??$|^what(?:'s| is) \d+\s*(?:[-+*/x×]|plus|minus"
    r"|times)\s*\d+",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    r"\b(?:what|which|who|when|where|how (?:old|many|much|long)|whose)\b.{0,40}\b(?:am|are|was|were|do|did|have"
    r"|should|would|can) (?:i|we)\b"
    r"|\b(?:what|who|which|when|where)(?:'s|\s+(?:is|are|was|were))\s+(?:my|our)\b|\bwhat .{0,30} (?:do|did) i\b"
    r"|\bdo you (?:remember|know) (?:my|who i|what i|where i|about me)"
    r"|\bwhat (?:do|did) you (?:know|remember) about (?:me|us)\b|\bwhat did i (?:tell|say)\b|\b(?:am|do|have"
    r"|did) i\b.*\?$"
    r"|\b(?:cuál|cómo|quién) (?:es|son|se llaman?) (?:mi|mis)\b|\b(?:was|wer|wie) (?:ist|sind|heißt|heißen) (?:mein"
    r"|meine)\b|\b(?:quel|quelle|qui|comment) (?:est|s'appelle) (?:mon|ma|mes)\b|我的.{0,12}(?:什么|谁|哪)",
    re.IGNORECASE,
)


def kind_of(question: str, now: datetime | None = None) -> Kind:
    """What `question` is about; `library` unless a rule says otherwise."""
    text = question.strip()
    asks = text.endswith(("?", "？"))
    if not asks and only_tells(text, now):
        return "statement"
    if _CATALOGUE.search(text):
        return "catalogue"
    if _PLAIN.search(text):
        return "plain"
    return "memory" if _MEMORY.search(text) else "library"


# ---- standing alone -------------------------------------------------------------------------------

_PRONOUN = re.compile(
    r"\b(it|its|they|them|their|theirs|he|him|his|she|her|hers|this|that|these|those|there|then|the (?:same|former"
    r"|latter)|one|ones)\b",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"^(?:and|but|or|so|also|what about|how about|then|y|und|et|pero|aber|mais|那|那么)\b[,:]?\s*", re.IGNORECASE
)
_EXPLETIVE = re.compile(
    r"\b(?:is|are|was|were|does|do|how|will|can) (?:it|there)\b(?= (?:possible|true|necessary|safe|rain|snow|take"
    r"|any|an?|\w+ to)\b)|\b(?:that|this|these|those) (?=\w+)(?!is\b|was\b|are\b|were\b|one\b)|\bthere (?:is|are"
    r"|was|were|any)\b|\b(?:is|are|was|were) there\b|\b(?:so|such|know|say|said|think|believe|mean|which|who"
    r"|\w+ed) that\b",
    re.IGNORECASE,
)
_POSSESSIVE = frozenset({"its", "their", "his", "hers", "theirs"})


def follows_up(question: str) -> bool:
    """Whether `question` leans on what was said before: an opening "and", a pronoun without its noun, or no verb at
    all."""
    text = question.strip()
    if _OPENING.match(text):
        return True
    bare = _EXPLETIVE.sub(" ", text)
    if (pronoun := _PRONOUN.search(bare)) is not None:
        before = bare[: pronoun.start()]
        # "When was the pier built and who paid for it?" holds its own noun.
        return not _entities(before) and len(content_words(before)) < 3
    return (
        len(word_ranges(text)) <= 3
        and len(content_words(text)) <= 2
        and not _entities(text)
        and not re.match(r"(?:what|who|define)\b", text, re.I)
    )


def standalone(question: str, history: Sequence[Exchange]) -> str:
    """`question` with the topic of the conversation put where it leans on it (rules).

    The topic is what the last question was about, or the thing the last answer named if that question asked for a
    thing.
    """
    if not history or not follows_up(question):
        return question
    topic = topic_of(history)
    if not topic:
        return question
    text = _OPENING.sub("", question.strip()).strip() or question
    replaced = _replace(text, topic)
    if replaced is not None:
        return replaced[:1].upper() + replaced[1:]
    if _has_verb(text):
        return f"{text.rstrip('?？ .')} ({topic})?"
    swapped = _swap(text, history[-1].question)
    return swapped if swapped is not None else f"{text.rstrip('?？ .')} of {topic}?"


def _replace(text: str, topic: str) -> str | None:
    """The first pronoun that is not an expletive, with the topic in its place."""
    hidden = [match.span() for match in _EXPLETIVE.finditer(text)]
    for match in _PRONOUN.finditer(text):
        if any(a <= match.start() < b for a, b in hidden):
            continue
        word = match.group().casefold()
        owned = word in _POSSESSIVE or (word == "her" and re.match(r"\s+\w", text[match.end() :]) is not None)
        if word == "then":
            continue
        here = f"{topic}'s" if owned else f"at {topic}" if word == "there" else topic
        return text[: match.start()] + here + text[match.end() :]
    return None


def _swap(text: str, before: str) -> str | None:
    """ "And in winter?" after "What does a berth cost in summer?": the last question with its last part changed."""
    match = re.match(r"(in|on|at|for|from|to|by|with|of)\s+(.+?)[?？.\s]*$", text, re.IGNORECASE)
    names = _entities(before)
    if match is None:
        if names and _entities(text):
            return before.replace(names[-1], text.rstrip("?？ ."))
        return None
    where = list(re.finditer(rf"\b{match.group(1)}\s+[^?]+", before, re.IGNORECASE))
    if where:
        return f"{before[: where[-1].start()]}{match.group(1)} {match.group(2)}?"
    return f"{before.rstrip('?？ .')} {match.group(1)} {match.group(2)}?"


def _has_verb(text: str) -> bool:
    return (
        re.search(
            r"\b(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|may|must|\w+ed)\b",
            text,
            re.IGNORECASE,
        )
        is not None
    )


_ARTICLE_PHRASE = re.compile(r"\b(?:the|a|an|my|our|this|that)\s+((?:[\w'’-]+\s*){1,4})", re.IGNORECASE)


def topic_of(history: Sequence[Exchange]) -> str:
    """The thing talked about: the last name in the newest question that has one, else its noun phrase, else a name in
    the answer."""
    for exchange in reversed(history):
        if names := _entities(exchange.question):
            return names[-1]
        phrases = [_phrase(match.group(1)) for match in _ARTICLE_PHRASE.finditer(exchange.question)]
        if found := [phrase for phrase in phrases if phrase]:
            return f"the {found[-1]}"
        if names := _entities(re.sub(r"\[m?\d+\]", "", exchange.answer)):
            return names[0]
        words = [exchange.question[a:b] for a, b in word_ranges(exchange.question)]
        if nouns := [word for word in words if word.casefold() not in STOP_WORDS]:
            return " ".join(nouns[-2:])
    return ""


def _phrase(words: str) -> str:
    kept: list[str] = []
    for word in words.split():
        if word.casefold() in STOP_WORDS or word.casefold() in (
            "cost",
            "costs",
            "open",
            "opens",
            "close",
            "closes",
            "start",
            "leave",
            "leaves",
            "need",
            "needs",
        ):
            break
        kept.append(word)
    return " ".join(kept)


def _entities(text: str) -> list[str]:
    """Names: runs of capitalised words that no sentence start explains, and quoted titles."""
    found: list[tuple[int, str]] = [(m.start(), m.group(1)) for m in re.finditer(r"[\"“]([^\"”]{3,60})[\"”]", text)]
    for match in re.finditer(
        r"[A-ZÀ-ÖØ-Þ][\w'’.-]*(?: (?:(?:of|the|de|la|van|von|du|and) )*[A-ZÀ-ÖØ-Þ0-9][\w'’.-]*)*", text
    ):
        name = match.group().removesuffix("'s").removesuffix("’s").rstrip(".")
        first, _, rest = name.partition(" ")
        if first.casefold() in STOP_WORDS or match.start() == 0:
            name = rest if first.casefold() in STOP_WORDS or not rest else name
        if match.start() == 0 and " " not in match.group() and not any(c.isdigit() for c in name):
            continue
        if name and name.casefold() not in STOP_WORDS:
            found.append((match.start(), name))
    return [name for _, name in sorted(found)]


def standalone_by(engine: Engine, question: str, history: Sequence[Exchange]) -> str:
    """`question` rewritten by a chat model; what it writes is taken only if it is a question about the same things."""
    ruled = standalone(question, history)
    if not history or not follows_up(question):
        return ruled
    talk = "\n".join(
        f"User: {prompts.data(e.question)}\nAssistant: {prompts.data(e.answer)[:600]}" for e in history[-3:]
    )
    messages = (
        Message("system", prompts.REWRITE),
        Message("user", f"{talk}\nUser: {question}\n\nThe last question, standing alone:"),
    )
    events = engine.generate(Request(messages, Sampling(max_tokens=80, stop=("\n",))))
    written = "".join(event.text for event in events if isinstance(event, Delta) and not event.reasoning)
    written = re.sub(r"<think>.*?(?:</think>|\Z)", "", written, flags=re.DOTALL).strip().strip('"“”')
    return written if valid_rewrite(written, question, history) else ruled


def valid_rewrite(written: str, question: str, history: Sequence[Exchange]) -> bool:
    """Whether a rewriting keeps the question's own words and adds none that the conversation does not hold."""
    own = set(content_words(question))
    said = set(content_words(" ".join(f"{e.question} {e.answer}" for e in history)))
    new = set(content_words(written))
    if not new or len(written) > 300 or not written.rstrip().endswith(("?", "？")):
        return False
    return len(own & new) >= 0.6 * len(own) and len(new - own - said) <= 2


# ---- first person ---------------------------------------------------------------------------------

FIRST_PERSON = re.compile(
    r"\b(?:I|I'm|my|mine|me|our|ours|we|us|mi|mis|mein\w*|mon|ma|mes|nuestr[oa]s?|notre|nos)\b|我", re.IGNORECASE
)
_MY = re.compile(r"\b(?:my|our)\s+(?:own\s+)?((?:[\w-]+\s+)?[\w-]+)", re.IGNORECASE)
_IS_CALLED = re.compile(
    r"\b(?:my|our|the user's|their)\s+(?P<what>[\w -]{2,40}?)\s*(?:,\s*(?:an?\s+)?|(?:is|are|was|'s)\s+(?:called"
    r"|named|the)?\s*|is\s+|=\s*|:\s*)[\"“]?(?P<name>[^\"”.,;!?]{1,60})",
    re.IGNORECASE,
)

_AND_IS = re.compile(
    r"\s+(?:and|but)\s+(?=(?:it |he |she |they )?(?:is|are|was|were|has|have|had|lies|lives|works|costs|weighs)\b)"
    r"|\s+(?=(?:which|who|that|because|since)\b)",
    re.IGNORECASE,
)
"""Where a name ends that no comma ends: "is called Heron and is red"."""


def with_memory(question: str, memories: Sequence[tuple[int, str]]) -> tuple[str, tuple[int, ...]]:
    """`question` with "my boat" replaced by what a memory says my boat is, and the ids of the memories so used."""
    if not FIRST_PERSON.search(question):
        return question, ()
    used: list[int] = []
    for match in reversed(list(_MY.finditer(question))):
        wanted_words = match.group(1).split()
        for size in range(len(wanted_words), 0, -1):
            noun = " ".join(wanted_words[:size]).casefold()
            named = next(
                (
                    (i, m["name"].strip())
                    for i, text in memories
                    for m in [_IS_CALLED.search(_AND_IS.sub(", ", text))]
                    if m and m["what"].casefold().split()[-1] == noun.split()[-1]
                ),
                None,
            )
            if named is not None:
                end = match.start(1) + len(" ".join(wanted_words[:size]))
                question = f"{question[: match.start()]}{named[1]}{question[end:]}"
                used.append(named[0])
                break
    return question, tuple(sorted(set(used)))


def to_second_person(text: str) -> str:
    """A memory in the user's words said back to the user: "My boat is ..." becomes "Your boat is ..."."""
    swaps = {
        "i": "you",
        "i'm": "you're",
        "i’m": "you’re",
        "am": "are",
        "my": "your",
        "mine": "yours",
        "me": "you",
        "myself": "yourself",
        "we": "you",
        "our": "your",
        "us": "you",
        "i've": "you've",
        "i’ve": "you’ve",
        "was": "was",
        "i'd": "you'd",
        "i'll": "you'll",
    }

    def swap(match: re.Match[str]) -> str:
        word = match.group()
        new = swaps.get(word.casefold(), word)
        return new[:1].upper() + new[1:] if match.start() == 0 else new

    said = re.sub(r"[\w'’]+", swap, text.strip())
    return re.sub(r"\b([Yy]ou) was\b", r"\1 were", said)
