"""Which documents a summary is asked of: those whose title or file the question names, or all of the scope."""

import re
from collections.abc import Sequence
from pathlib import PurePath

from app.sentences import STOP_WORDS, stem, word_ranges
from retrieval.types import DocumentInfo

MOST = 50
"""Documents that one summary takes; of more, the first are taken and the rest are named as left out."""

_FORM = (
    "summary summarize summarise summarizing sum up overview outline recap gist synopsis abstract key main important"
    " points ideas takeaways findings messages essentials boil down condense tldr tl dr executive brief briefly short"
    " quick give make write need want sentence sentences paragraph words bullet bullets cover covers document file pdf"
    " report's please fasse fass zusammen zusammenfassung von des den dem der die das resume resumen resume el la los"
    " résume le les e-mail email mail one two three four five six seven eight nine ten"
)
_WHOLE = frozenset(map(stem, ["library", "everything", "all", "documents", "files", "collection"]))
_SAYS_NOTHING = STOP_WORDS | frozenset(_FORM.split())
_COUNT = re.compile(r"\b(\d{1,2}|two|three|four|five|six|seven|eight|nine|ten) (?:short )?sentences?\b", re.IGNORECASE)
_NUMBERS = {
    word: n for n, word in enumerate(["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], 2)
}


def subjects(question: str, documents: Sequence[DocumentInfo]) -> list[DocumentInfo]:
    """The documents that `question` names by all of its words; all of them where it asks for everything, none where
    its words name none."""
    asked = {stem(word) for word in _words(question) if word.casefold() not in _SAYS_NOTHING and not word.isdigit()}
    if not asked:
        return list(documents) if len(documents) == 1 else []
    if asked <= _WHOLE:
        return list(documents)
    named = [(one, _names(one)) for one in documents]
    return [one for one, names in named if asked <= names]


def sentence_count(question: str) -> int | None:
    """How long a summary is asked for: "in five sentences"."""
    match = _COUNT.search(question)
    return None if match is None else _NUMBERS.get(match[1].casefold()) or int(match[1])


def _names(document: DocumentInfo) -> set[str]:
    said = f"{document.title} {PurePath(document.path).stem} {PurePath(document.path).suffix.lstrip('.')}"
    return {stem(word) for word in _words(said)}


def _words(text: str) -> list[str]:
    apart = re.sub(r"[-_.]+", " ", text)
    return [apart[a:b] for a, b in word_ranges(apart)]
