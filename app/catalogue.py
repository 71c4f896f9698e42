"""Questions about the library itself, answered from its catalogue: how many documents, which, of what type, the
newest."""

import re
from collections.abc import Sequence
from pathlib import PurePath

from retrieval.types import DocumentInfo

LONGEST = 50
"""Documents listed; beyond it the count says the rest."""
_TYPES: tuple[tuple[str, str, frozenset[str]], ...] = (
    (r"\bpdfs?\b", "PDF", frozenset({".pdf"})),
    (r"\bspreadsheets?|\bexcel\b|\btables?\b", "spreadsheet", frozenset({".xlsx", ".xls", ".ods", ".csv"})),
    (r"\bpresentations?|\bslides?\b|\bpowerpoint", "presentation", frozenset({".pptx", ".ppt", ".odp"})),
    (r"\be-?mails?\b", "mail", frozenset({".eml", ".msg"})),
    (r"\bmarkdown\b", "Markdown", frozenset({".md", ".markdown"})),
    (r"\bweb ?pages?|\bhtml\b", "web page", frozenset({".html", ".htm", ".xhtml"})),
    (r"\bword (?:files?|documents?)|\bdocx\b", "Word", frozenset({".docx", ".doc"})),
    (r"\b(?:e-?)?books?\b|\bepub", "book", frozenset({".epub"})),
)
_COUNT = re.compile(r"\bhow many\b|\bcount\b|\bnumber of\b|cuántos|wie viele|combien|多少", re.IGNORECASE)
_NEWEST = re.compile(r"\b(?:newest|latest|last|most recent(?:ly)?|recently)\b", re.IGNORECASE)


def answer(question: str, documents: Sequence[DocumentInfo], scope: Sequence[str]) -> str:
    """The catalogue's answer in words; `documents` are those in scope."""
    named = next(
        ((name, endings) for pattern, name, endings in _TYPES if re.search(pattern, question, re.IGNORECASE)), None
    )
    found = list(documents)
    if named is not None:
        found = [d for d in documents if PurePath(d.path).suffix.lower() in named[1]]
    what = f"{named[0]} documents" if named is not None else "documents"
    place = " and ".join(f"“{one}”" for one in scope)
    if not found:
        return f"There are no {what} in {place}."
    if _NEWEST.search(question):
        newest = max(found, key=lambda d: d.ingested_at)
        return (
            f"The newest of the {len(found)} {what} in {place} is {_entry(newest)}, taken in on "
            f"{newest.ingested_at[:10]}."
        )
    count = (
        f"There {'is' if len(found) == 1 else 'are'} {len(found)} "
        f"{what.removesuffix('s') if len(found) == 1 else what} in {place}"
    )
    if _COUNT.search(question):
        return f"{count}."
    listed = "\n".join(f"- {_entry(d)}" for d in sorted(found, key=lambda d: d.path)[:LONGEST])
    more = f"\n... and {len(found) - LONGEST} more." if len(found) > LONGEST else ""
    return f"{count}:\n{listed}{more}"


def _entry(document: DocumentInfo) -> str:
    name = PurePath(document.path).name
    return f"{document.title} ({name})" if document.title and document.title != name else name
