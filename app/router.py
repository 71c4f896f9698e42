"""Which way a question is answered: from the catalogue, by a query over rows, by a summary, document by document, by
looking it up, or, where it is about no document at all, plainly. Rules; `tests/app/test_router.py` measures them.

A way may still find that it cannot answer with certainty; the question is looked up then.
"""

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Literal

from app.query import kind_of
from app.tables.figures import figures
from app.tables.plan import asks_for_rows
from app.tables.subject import OF_TABLE, told_by_superlative
from app.tables.words import Asked, asks_of_people, explain_names, is_of_people, mentions, stems
from retrieval.tables.store import Listed

Route = Literal["catalogue", "table", "summary", "every", "lookup", "plain"]

_PAPERS = (
    r"(?:documents?|files?|contracts?|leases?|e-?mails?|mails|letters?|reports?|papers?|invoices?|offers?|minutes|notes?"
    r"|agreements?|policies|policy|manuals?|books?|texts?|sources?|pdfs?|dokumente?n?|dateien?|vertr[aä]ge?|berichte?)"
)
_OWN = r"(?: of (?:the|my|our|these))?"
_SAYS = (
    r"(?:mentions?|says?|talks?|contains?|names?|refers?|discuss(?:es)?|covers?|includes?|asks?|states?|describes?"
    r"|appears?|speaks?|deals?|gives?|has|have|occurs?|stands?)"
)
EVERY = re.compile(
    rf"\b(?:each|every)(?: one)?{_OWN} {_PAPERS}\b"
    rf"|\b(?<!list )(?:for|in|across|from|of|over|through) all(?: of)?(?: the| my| our| these)? {_PAPERS}\b"
    rf"|\bper {_PAPERS}\b"
    rf"|\b(?:which|what){_OWN} {_PAPERS} (?!(?:is|are|was|were)\b|(?:do|have) (?:i|you|we)\b)(?:\w+ ){{0,3}}?{_SAYS}\b"
    rf"|\bin (?:which|what) {_PAPERS} (?:does|do|is|are)\b"
    rf"|\b(?:jede[smnr]?|in allen|aus allen|in welchen) {_PAPERS}\b",
    re.IGNORECASE,
)
"""How a question says that it is put to every document."""

_POINTS = r"(?:key|main|most important) (?:points|ideas|takeaways|findings|messages)"
_ABRIDGED = r"(?:summary|overview|synopsis|abstract|gist|recap)"
_SUMMARY = re.compile(
    r"\b(?:summari[sz](?:e|ing)|sum up|outline|recap|boil\b.{1,40}\bdown|condense|tl;?dr)\b"
    rf"|\b(?:an?|the|short|brief|executive|quick)(?: \w+)? {_ABRIDGED} of\b"
    rf"|^(?:please )?(?:{_ABRIDGED}|{_POINTS}) (?:of|from)\b"
    rf"|\b(?:the|what(?:'s| is| are)(?: the)?) (?:gist|{_POINTS}) (?:of|from|in)\b"
    r"|^what(?:'s| is| are) .{3,60} (?:all )?about\W*$|\bwhat (?:does|do) .{3,60} cover\W*$"
    r"|\bfasse?\b.{1,60}\bzusammen\b|\bzusammenfassung (?:de[sr]|von)\b"
    r"|^(?:por favor )?resum(?:e|a|ir|en de)\b|\brésum(?:e|er|é de)\b",
    re.IGNORECASE,
)
_MADE = r"(?:loop|script|function|program|class|query|poem|story|song|regex)"
_TASK = re.compile(
    r"^(?:please )?(?:(?:explain|fix|debug)\b.*\b(?:code|regex|in python|script)\b"
    rf"|(?:write|create)(?: me)? (?:an?|some)(?: \w+)? {_MADE}\b"
    r"|(?:rewrite|rephrase|translate) (?:this|the following)\b)",
    re.IGNORECASE,
)
"""Tasks that name a file or a code, and are about no document."""


def route(question: str, tables: Sequence[Listed] = ()) -> Route:
    """The way of `question` in a library that has `tables`."""
    kind = kind_of(question)
    if _SUMMARY.search(question):
        return "summary"
    if kind == "catalogue":
        return "catalogue"
    if kind == "plain" or _TASK.search(question):
        return "plain"
    if EVERY.search(question):
        return "every"
    if asks_for_rows(question) and any(_may_tell(question, table) for table in tables):
        return "table"
    return "lookup"


def _may_tell(question: str, table: Listed) -> bool:
    """Whether a question names a column of the table, in a word of its own or in a superlative, or names the table or
    its rows ("people")."""
    asked = Asked(question)
    named = mentions(asked, table.columns)
    explain_names(asked, table)
    by_name = bool(asked.explained) and (bool(named) or OF_TABLE.search(question) is not None)
    by_name = by_name or (asks_of_people(asked) and is_of_people(table)) or _counts_rows(asked, table)
    return by_name or told_by_superlative(question, table) or any(one.whole for one in named)


def _counts_rows(asked: Asked, table: Listed) -> bool:
    """Whether "how many members" is asked of the table `members`."""
    name = stems(re.sub(r"[-_.]+", " ", table.sheet or PurePath(table.path).stem))
    counted = [asked.within(said.place)[-1] + 1 for said in figures(asked.text) if said.figure == "count"]
    return any(asked.words[i].stem in name and not asked.words[i].small for i in counted if i < len(asked.words))
