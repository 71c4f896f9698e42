"""How a question that goes through a thing it does not name is taken apart: "When was the author of X born?" first
asks "Who is the author of X?". A later step calls what step k found `#k`, as QDMR does (Wolfson et al. 2020).

    When was the wife of the owner of the Heron born?      innermost described thing first
      1. Who is the owner of the Heron?
      2. Who is the wife of #1?
      3. When was #2 born?

The plan is made of the user's own words before anything is read, so that no document can add a step to it. By rule,
English alone; a chat model may propose a plan, which is taken only if it is made of the question's words.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.claims import split_reasoning
from app.query import FIRST_PERSON, follows_up
from app.relative import question_for
from app.sentences import content_words
from model.engine import Delta, Engine, JsonSchema, Message, Request, Sampling

MOST = 3
"""Steps of a plan, the last included."""
SLOT = re.compile(r"#(\d)")


@dataclass(frozen=True, slots=True)
class Plan:
    """Questions in the order in which they are asked; `parts`: each is asked for, not the last alone."""

    steps: tuple[str, ...]
    parts: bool = False


_PERSON = (
    r"(?:author|writer|novelist|poet|composer|painter|artist|sculptor|architect|designer|inventor|founder|co-founder"
    r"|discoverer|builder|owner|landlord|landlady|tenant|lessor|lessee|manager|director|head|leader|chief|boss|chair"
    r"|chairman|chairwoman|chairperson|president|treasurer|captain|skipper|commander|governor|mayor|editor|translator"
    r"|teacher|tutor|coach|trainer|conductor|doctor|physician|lawyer|solicitor|supervisor|mentor|adviser|assistant"
    r"|deputy|predecessor|successor|winner|wife|husband|spouse|partner|widow|widower|mother|father|son|daughter"
    r"|brother|sister|uncle|aunt|parent|driver|pilot|sender|recipient|buyer|seller|organi[sz]er|host|curator"
    r"|librarian|king|queen|emperor|ruler)"
)
_BODY = (
    r"(?:publisher|manufacturer|maker|supplier|vendor|employer|insurer|contractor|carrier|capital|headquarters"
    r"|birthplace|home ?town|parent company|sponsor)"
)
_NAMED = (
    r"(?:person|man|woman|one|boy|girl|child|artist|player|scientist|company|firm|business|bank|shop|store|restaurant"
    r"|hotel|club|department|team|office|organi[sz]ation|institute|agency|ministry|school|college|university|hospital"
    r"|museum|church|theatre|theater|library|workshop|yard|shipyard|factory|city|town|village|country|state|county"
    r"|region|province|island|river|lake|mountain|valley|street|square|park|bridge|building|house|castle|station"
    r"|harbou?r|port|airport|ship|boat|vessel|yacht|train|aircraft|book|novel|poem|play|film|movie|album|song|opera"
    r"|magazine|newspaper|journal|prize|award|machine|product|programme|program)"
)
"""Nouns of things that have a name; a clause about another ("the mass that was viewed as sacrifice") finds none."""
_ROLE = rf"(?:[a-z-]+ )??(?P<role>{_PERSON}|{_BODY})"
_PROPER = r"[A-ZÀ-ÖØ-Þ][\w.-]*(?: (?:(?:of|de|van|von|the|and) )?[A-ZÀ-ÖØ-Þ][\w.-]*)*"
_OF = re.compile(rf"\bthe {_ROLE} of (?P<rest>(?:the |an? )?[^\s,?][^,?]*)")
_OWNED = re.compile(
    rf"(?<![\w#])(?P<owner>(?:the (?:[\w-]+ ){{0,3}}[\w-]+|{_PROPER}(?: [a-z-]+){{0,2}}|#\d))['’]s {_ROLE}\b(?! [A-Z])"
)
_WHICH = re.compile(
    rf"\bthe (?P<noun>(?:[a-z-]+ )??(?P<what>{_NAMED}|{_PERSON}|{_BODY}))"
    r" (?P<link>(?:in|at|for|by|from|with|on|to) which|that|which|who|where|whom) (?P<rest>[^,?]+)"
)
_ANYBODY = re.compile(rf"{_PERSON}|person|man|woman|one|boy|girl|child")
_INVERTED = re.compile(
    r"\b(?P<aux>do|does|did|can|could|will|would|shall|should|must|may|might|has|have|had|is|are|was|were)"
    r" (?P<of>(?:the (?:[\w-]+ ){1,3}of )*)$",
    re.IGNORECASE,
)
_BE = frozenset({"is", "are", "was", "were"})
_PARTICIPLE = re.compile(
    r"(?:\w{2,}ed|born|built|made|held|sold|bought|paid|found|known|written|drawn|taken|given|chosen|shown|sent|kept"
    r"|lost|won|sunk|buried|hidden|spoken|told|taught|dead|alive)",
    re.IGNORECASE,
)
_LINKS = frozenset(
    ["in", "at", "on", "of", "for", "to", "from", "by", "with", "about", "into", "after", "before", "since", "until"]
)
_SMALL = _LINKS | {"the", "a", "an"}
_IDENTITY = re.compile(
    r"\W*(?:who|(?:what|which)(?: [\w-]+){0,3})(?:'s|’s| is| are| was| were)(?: [\w-]+ to be)? $"
    r"|.*\b(?:name|term|word|example|position)s? (?:of|for) $",
    re.IGNORECASE,
)
"""What stands before a thing whose own name is asked for."""
_AND = re.compile(
    r",? and (?=(?:in |at |on |for |by |to )?(?:who|whom|when|where|what|which|why|how)\b)", re.IGNORECASE
)
_ASKS = re.compile(r"\b(?:who|whom|whose|when|where|what|which|how|why)\b", re.IGNORECASE)
_WHO = re.compile(r"\W*who\b(?! (?:is|are|was|were)\b)", re.IGNORECASE)
_THEY = re.compile(r"\b(?:(?P<own>his|their|her(?= \w))|he|she|him|her|they|them)\b", re.IGNORECASE)


def plan(question: str) -> Plan | None:
    """The plan of `question` by rule; None where it is to be asked as it stands."""
    if FIRST_PERSON.search(question) or len(question) > 300 or "#" in question or not _ASKS.search(question):
        return None
    return _in_parts(question) or _nested(question)


def filled(step: str, found: Sequence[str]) -> str:
    """A step with what earlier steps found in the place of `#1`, `#2`."""
    return SLOT.sub(lambda slot: found[int(slot[1]) - 1], step)


def _in_parts(question: str) -> Plan | None:
    """ "Who owns the Heron and where does he live?" is two questions, each of which is answered."""
    halves = _AND.split(question.strip())
    if len(halves) != 2 or not _ASKS.match(halves[0]) or len(halves[0].split()) < 3 or len(halves[1].split()) < 4:
        return None
    first, second = (half.strip(" ?,") + "?" for half in halves)
    if (they := _THEY.search(second)) is not None:
        if not (_WHO.match(first) or _OF.search(first) or _OWNED.search(first)):
            return None
        second = f"{second[: they.start()]}{'#1’s' if they['own'] else '#1'}{second[they.end() :]}"
    elif follows_up(second):  # "it" may be anything that was named
        return None
    return Plan((first, second[:1].upper() + second[1:]), parts=True)


def _nested(question: str) -> Plan | None:
    """The described things of a question, innermost first, then the question about the last of them."""
    steps: list[str] = []
    rest = question.strip()
    while len(steps) < MOST - 1 and (found := _innermost(rest)) is not None:
        start, end, inner = found
        steps.append(inner)
        rest = f"{rest[:start]}#{len(steps)}{rest[end:]}"
    return Plan((*steps, rest)) if steps else None


def _innermost(question: str) -> tuple[int, int, str] | None:
    """The last thing that is described and not named: where it stands, and the question that asks for it."""
    found = [
        one
        for matches, asked in (
            (_overlapping(_OF, question), _asked_of),
            (_OWNED.finditer(question), _asked_owned),
            (_overlapping(_WHICH, question), _asked_which),
        )
        for match in matches
        if (one := asked(question, match)) is not None and not _is_all(question, one[0])
    ]
    return max(found, key=lambda one: (one[0], -one[1]), default=None)


def _overlapping(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    found, at = [], 0
    while (match := pattern.search(text, at)) is not None:
        found.append(match)
        at = match.start() + 1
    return found


def _is_all(question: str, start: int) -> bool:
    """Whether the thing is what the whole question asks for: "Who is the author of X?" """
    return _IDENTITY.fullmatch(question[:start]) is not None


def _asked_of(question: str, match: re.Match[str]) -> tuple[int, int, str] | None:
    end = _end(question, match.start(), match.start("rest"), match.end(), clause=False)
    if end <= match.start("rest") or not _says(question[match.start("rest") : end]):
        return None
    return match.start(), end, f"{_who(match['role'])} is {question[match.start() : end]}?"


def _asked_owned(question: str, match: re.Match[str]) -> tuple[int, int, str] | None:
    if not _says(match["owner"]) or _ASKS.search(match["owner"]):
        return None
    return match.start(), match.end(), f"{_who(match['role'])} is {match.group()}?"


def _asked_which(question: str, match: re.Match[str]) -> tuple[int, int, str] | None:
    noun, link = match["noun"], match["link"].casefold()
    end = _end(question, match.start(), match.start("rest"), match.end(), clause=True)
    clause = question[match.start("rest") : end].strip()
    if len(clause.split()) < 2 or _ASKS.search(clause):
        return None
    who = "Who" if _ANYBODY.fullmatch(noun) and " " not in link else f"Which {noun}"
    return match.start(), end, question_for(who, link, clause)


def _says(text: str) -> bool:
    return bool(content_words(text.replace("#", "x")))


def _who(role: str) -> str:
    return "Who" if re.fullmatch(_PERSON, role) else "What"


def _end(question: str, start: int, rest: int, end: int, *, clause: bool) -> int:
    """Where a described thing ends: before the verb of the question, where that comes after it.

    Its auxiliary stands right before the thing then: "was the author of X | born", "did the yard that built the
    Merganser | close", "does the tenant of Mill House | give to end the lease". In a clause, which has a verb of its
    own, the last one is taken, with what hangs on it by prepositions ("| win in 2016"); else the first.
    """
    end = rest + len(question[rest:end].rstrip(" ?."))
    inverted = _INVERTED.search(question[:start])
    if inverted is None:
        return end
    words = [(m.start() + rest, m.end() + rest) for m in re.finditer(r"\S+", question[rest:end])]
    said = [question[a:b] for a, b in words]
    count = len(words)
    if inverted["aux"].casefold() in _BE:
        verbs = [
            n
            for n in range(1, count)
            if _PARTICIPLE.fullmatch(said[n]) and said[n - 1].casefold() not in {*_BE, "has", "have", "had", "been"}
        ]
        valued = inverted["of"] and re.match(r"\W*(?:what|who)\b", question, re.IGNORECASE)  # "What is the name of ..."
        return words[verbs[-1] - 1][1] if verbs and not valued else end
    if not clause:
        verbs = [
            n
            for n in range(1, count)
            if said[n].islower()
            and not {said[n], said[n - 1].casefold()} & _SMALL
            and (n + 1 == count or said[n + 1] in _SMALL)
        ]
        return words[verbs[0] - 1][1] if verbs else rest
    n = count - 1
    while n > 0 and said[n] in _LINKS:  # "move to"
        n -= 1
    while n > 1 and said[n - 1] in _SMALL:  # "win in 2016"
        n -= 1 if said[n - 1] not in _LINKS else 2
    return words[n - 1][1] if n > 0 else rest


# ---- by a model -----------------------------------------------------------------------------------

_ASK = """Split the question into simpler questions that are asked one after the other, at most three. A later one \
writes #1 for what the first found, #2 for what the second found. Use only words of the question. Do not answer. If \
the question is simple already, give it alone.

Question: When was the wife of the owner of the Heron born?
{"steps": ["Who is the owner of the Heron?", "Who is the wife of #1?", "When was #2 born?"]}

Question: What does the blue kettle cost?
{"steps": ["What does the blue kettle cost?"]}"""
_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"steps": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST}},
        "required": ["steps"],
        "additionalProperties": False,
    }
)


def plan_by(engine: Engine, question: str, ruled: Plan) -> Plan | None:
    """The plan that a chat model proposes for a question that the rules would take apart; None if it would not.

    The rules' own is taken where the proposal does not hold (`valid`).
    """
    if ruled.parts:
        return ruled
    constraint = JsonSchema(_SCHEMA) if "json_schema" in engine.describe().capabilities else None
    messages = (Message("system", _ASK), Message("user", f"Question: {question}"))
    events = engine.generate(Request(messages, Sampling(max_tokens=200), constraint))
    said = "".join(event.text for event in events if isinstance(event, Delta) and not event.reasoning)
    try:
        steps = tuple(json.loads(split_reasoning(said)[0])["steps"])
    except (ValueError, KeyError, TypeError):
        return ruled
    if not valid(steps, question):
        return ruled
    return Plan(steps) if len(steps) > 1 else None


def valid(steps: Sequence[object], question: str) -> bool:
    """Whether a proposed plan is bounded, made of the question's words, and each step but the last is used later."""
    if not 0 < len(steps) <= MOST or not all(
        isinstance(step, str) and len(step) <= len(question) + 60 for step in steps
    ):
        return False
    said = [str(step) for step in steps]
    used = [{int(slot) for slot in SLOT.findall(step)} for step in said]
    own = set(content_words(question))
    return (
        all(step.rstrip().endswith("?") for step in said)
        and all(slot <= set(range(1, n + 1)) for n, slot in enumerate(used))
        and set().union(*used) == set(range(1, len(said)))
        and all(len(set(content_words(SLOT.sub(" ", step))) - own) <= 1 for step in said)
    )
