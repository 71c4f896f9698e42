"""A question of every document: each is asked alone, and what it says stands in a list with its proof.

"For each document, who signed it?" asks; "which documents mention dredging?" looks for the words. Many documents are
`loci batch --each-document`'s, which can be interrupted.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from app.answer import Answer, Ask, LeftOut, Started, TurnEvent, Used, Window
from app.each_document import proven
from app.router import EVERY
from app.sentences import content_words, sentences
from app.shelf import Library, Shelf
from app.summary.statements import Statement, composed
from app.turn import Turn
from retrieval.types import DocumentInfo

MOST = 30
"""Documents that one question is put to; more are a batch."""

_MENTIONS = re.compile(
    r"\b(?:mentions?|says?|talks?|contains?|names?|refers?|discuss(?:es)?|covers?|includes?|states?|describes?|speaks?"
    r"|deals?)\b(?: (?:about|of|to|on|with|anything|something))*\s+(?P<what>.+?)\W*$",
    re.IGNORECASE,
)
_WHICH = re.compile(r"^\W*(?:in )?(?:which|what)\b", re.IGNORECASE)
_OPENING = re.compile(r"\W*(?:for|in|across|from|per|through|over)\b\s*", re.IGNORECASE)


def answer_every(
    turn: Turn, library: Library, documents: Sequence[DocumentInfo], ask: Callable[[Ask], Answer]
) -> Iterator[TurnEvent]:
    """Fill the turn with what each of `documents` says; `ask` answers a question that is bound to one.

    :raises LociError: any of `app.errors.LociError`.
    """
    sought = _sought(turn.standalone)
    inner = _alone(turn.standalone)
    listed: list[Statement] = []
    silent = 0
    for done, document in enumerate(documents[:MOST]):
        yield Started("read", done, min(len(documents), MOST))
        if sought is not None:
            found = _mention(turn.shelf, library, document, sought, turn.ask)
        else:
            found = _said(turn, ask, inner, document)
        silent += found is None
        listed += [] if found is None else [replace(found, text=f"{document.title or document.path}: {found.text}")]
    left = [LeftOut(f"{len(documents) - MOST} documents", "use `loci batch --each-document` for so many")]
    turn.window = Window(0, Used(), tuple(left) if len(documents) > MOST else ())
    asked = min(len(documents), MOST)
    if not listed:
        turn.abstained, turn.text = True, "None of the documents says."
        turn.reason = f"None of the {asked} documents supports an answer."
        return
    does = "mention it" if sought is not None else "answer"
    head = (
        f"{len(listed)} of {asked} documents {does}; the rest do not:" if silent else f"All {asked} documents {does}:"
    )
    turn.text, turn.citations = composed([(head, ()), ("", listed)])
    turn.grounded = True


def _said(turn: Turn, ask: Callable[[Ask], Answer], question: str, document: DocumentInfo) -> Statement | None:
    bound = replace(
        turn.ask, question=question, within=(document.id,), documents=(), session=None, history=(), store=False,
        use_memory=False, after=None, request=None, whole=True,
    )  # fmt: skip
    answer = ask(bound)
    turn.model = answer.model
    turn.spend(answer.usage)
    said, proof = proven(question, answer)
    return Statement(" ".join(said.split()), (proof,)) if proof is not None else None


def _mention(shelf: Shelf, library: Library, document: DocumentInfo, what: str, asked: Ask) -> Statement | None:
    """The sentence that has all words of `what`, in the passages that are nearest to it."""
    wanted = set(content_words(what))
    found = library.search(what, collections=asked.scope, limit=5, documents=(document.id,), epoch=asked.library_epoch)
    for passage in found:
        text = shelf.text(passage.document)
        for place in sentences(text, passage.start, passage.end):
            if wanted and wanted <= set(content_words(text[slice(*place)])):
                cited = shelf.cite(0, (0, 0), passage, place, "verified")
                return Statement(f"“{' '.join(text[slice(*place)].split())}”", (cited,))
    return None


def _sought(question: str) -> str | None:
    """The words that "which documents mention ..." looks for."""
    match = _MENTIONS.search(question)
    return match["what"] if match and _WHICH.match(question) else None


def _alone(question: str) -> str:
    """The question as one document is asked it: "of each contract" is "of the contract"."""
    match = EVERY.search(question)
    if match is None:
        return question
    noun = match.group().split()[-1].removesuffix("s")
    if _OPENING.fullmatch(question[: match.start()]) or (match.start() == 0 and _OPENING.match(match.group())):
        rest = question[match.end() :].lstrip(" ,:")
    else:
        lead = re.match(r"(?:for|in|of|from|across|over|through)\b", match.group(), re.IGNORECASE)
        rest = f"{question[: match.start()]}{lead.group() + ' ' if lead else ''}the {noun}{question[match.end() :]}"
    return rest[:1].upper() + rest[1:] if rest else question
