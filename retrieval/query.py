"""What a query asks for beside its words: filters, told by rules alone. Knows no database.

    "annual fee" in:contracts type:pdf after:2024 before:2025-06 author:holm

- `"..."`      the passage holds these words, in this order; case, accents and typography do not count. In a question,
               told by its question mark, passages that hold them are only preferred: what it quotes is often a title or
               a translation, which the documents give in other words.
- `in:`        a folder of the document's path, or several (`in:work/contracts`).
- `type:`      the file's kind: its extension, or a name such as `word` or `mail`.
- `after:`     of this year, month or day, or later; `before:` earlier. Of the document's own date, else of its file.
- `author:`    part of the author's name, as the document gives it.

A value with spaces stands in quotation marks (`author:"Anna Holm"`). One filter twice means either, two mean both.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from pathlib import PurePath

from retrieval.errors import BadFilter

_FIELD = re.compile(
    r"(?<!\S)(?P<name>in|type|after|before|author):"
    r"(?:[\"“](?P<quoted>[^\"”]+)[\"”]|(?P<bare>[^\s\"“”?\uff1f]*[^\s\"“”?\uff1f,;.!)]))",
    re.IGNORECASE,
)
_PHRASE = re.compile(r"\"([^\"]+)\"|“([^“”]+)”|„([^„“”]+)[“”]|«\s?([^«»]+?)\s?»|「([^「」]+)」")
_DATE = re.compile(r"\d{4}(?:-\d\d){0,2}", re.ASCII)
_TIME = re.compile(
    r"\d|(?:now|today|tomorrow|yesterday|last|next|this|(?:mon|tues|wednes|thurs|fri|satur|sun)day|jan(?:uary)?"
    r"|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:tember)?|oct(?:ober)?|nov(?:ember)?"
    r"|dec(?:ember)?)\b",
    re.IGNORECASE,
)
"""How what is meant as a date begins; a question may hold words of programs, such as `after:spec`."""
_QUESTION_MARKS = "?\uff1f\u061f"
"""Of Latin, Chinese and Arabic script."""
_STORED_DATE = re.compile(r"(?:D:)?(?P<year>\d{4})(?:-?(?P<month>\d{2})(?:-?(?P<day>\d{2}))?)?")

_KINDS: Mapping[str, frozenset[str]] = {
    "word": frozenset({"docx", "doc", "odt", "rtf"}),
    "excel": frozenset({"xlsx", "xls", "ods", "csv"}),
    "powerpoint": frozenset({"pptx", "ppt", "odp"}),
    "mail": frozenset({"eml", "msg", "mbox"}),
    "markdown": frozenset({"md", "markdown"}),
    "text": frozenset({"txt", "text"}),
    "html": frozenset({"html", "htm", "xhtml"}),
}


@dataclass(frozen=True, slots=True)
class Query:
    """A query taken apart. Dates are ISO, as much of one as was given (`2024`, `2024-05`)."""

    words: str
    """What is searched by meaning and words: all but the filters."""
    phrases: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    after: str | None = None
    before: str | None = None
    is_question: bool = False
    """Whether it asks something beside what it quotes, so that quoted words are preferred and not required."""

    @property
    def bounds_documents(self) -> bool:
        return bool(self.folders or self.kinds or self.authors or self.after or self.before)

    def admits(self, path: str, metadata: Mapping[str, str], mtime_ns: int) -> bool:
        """Whether the filters on documents let this one through."""
        if self.folders and not any(_within(path, folder) for folder in self.folders):
            return False
        extension = PurePath(path).suffix.lstrip(".").lower()
        if self.kinds and not any(extension in _KINDS.get(kind, {kind}) for kind in self.kinds):
            return False
        if self.authors:
            by = plain(metadata.get("author", ""))
            if not any(plain(author) in by for author in self.authors):
                return False
        if self.after is None and self.before is None:
            return True
        date = date_of(metadata, mtime_ns)
        return (self.after is None or date >= self.after) and (self.before is None or date < self.before)


def read_query(text: str) -> Query:
    """Take `text` apart. What is no filter after all (`after:lunch`) stays among the words, as do quoted words."""
    found: dict[str, list[str]] = {name: [] for name in ("in", "type", "author", "after", "before")}

    def take(match: re.Match[str]) -> str:
        name, value = _name_and_value(match)
        if name in ("after", "before") and not _is_date(value):
            return match.group()
        found[name].append(value)
        return " "

    words = " ".join(_FIELD.sub(take, text).split())
    phrases = tuple(next(g for g in match.groups() if g) for match in _PHRASE.finditer(words))
    beside = _PHRASE.sub(" ", words)
    return Query(
        words=words,
        phrases=tuple(phrase for phrase in phrases if any(c.isalnum() for c in phrase)),
        folders=tuple(found["in"]),
        kinds=tuple(kind.lstrip(".").lower() for kind in found["type"]),
        authors=tuple(found["author"]),
        after=max(found["after"], default=None),
        before=min(found["before"], default=None),
        is_question=any(c in _QUESTION_MARKS for c in beside) and any(c.isalnum() for c in beside),
    )


def check_dates(text: str) -> None:
    """What a person wrote, before it is searched: `read_query` takes a date that is none as words.

    :raises BadFilter: what `after:` or `before:` names is meant as a date, and is none.
    """
    for match in _FIELD.finditer(text):
        name, value = _name_and_value(match)
        if name in ("after", "before") and _TIME.match(value) and not _is_date(value):
            raise BadFilter(
                f"{match.group()} names no date.",
                "Write a year, a month or a day: 2026, 2026-05 or 2026-05-31; in quotation marks, it is words.",
            )


def _name_and_value(field: re.Match[str]) -> tuple[str, str]:
    return field["name"].lower(), (field["quoted"] or field["bare"]).strip()


def _is_date(value: str) -> bool:
    """Whether it is a year, a month or a day of the calendar."""
    try:
        date.fromisoformat(f"{value}-01-01"[:10])
    except ValueError:
        return False
    return _DATE.fullmatch(value) is not None


def loosened(text: str) -> str | None:
    """The query `text` whose quoted words are words like others, its filters kept; None if it requires none."""
    asked = read_query(text)
    if not asked.phrases or asked.is_question:
        return None
    filters = [match.group() for match in _FIELD.finditer(text) if match.group() not in asked.words]
    unquoted = _PHRASE.sub(lambda match: next(group for group in match.groups() if group), asked.words)
    return " ".join([unquoted, *filters])


def plain(text: str) -> str:
    """`text` without case, accents, punctuation and line ends: the form in which phrases and names are compared."""
    apart = unicodedata.normalize("NFKD", text).casefold()
    kept = ("" if unicodedata.combining(c) else c if c.isalnum() else " " for c in apart)
    return " ".join("".join(kept).split())


def holds(text: str, phrase: str) -> bool:
    """Whether `text` has the words of `phrase` in a row; in scripts without spaces, its characters."""
    own, wanted = plain(text), plain(phrase)
    if any(unicodedata.east_asian_width(c) in "WF" for c in wanted):
        return wanted in own
    return f" {wanted} " in f" {own} "


def date_of(metadata: Mapping[str, str], mtime_ns: int) -> str:
    """The day a document is of, ISO: what it says itself, else when its file was last changed."""
    for key in ("date", "created", "modified", "year"):
        value = metadata.get(key, "").strip()
        if match := _STORED_DATE.match(value):
            return "-".join(part for part in match.groups() if part)
        try:
            return parsedate_to_datetime(value).date().isoformat()
        except ValueError:
            continue
    return datetime.fromtimestamp(mtime_ns / 1e9, UTC).date().isoformat()


def _within(path: str, folder: str) -> bool:
    """Whether `folder`, one name or several joined by "/", stands among the folders of `path`."""
    parents = [plain(part) for part in PurePath(path).parent.parts]
    wanted = [plain(part) for part in PurePath(folder).parts if plain(part)]
    runs = (parents[i : i + len(wanted)] for i in range(len(parents) - len(wanted) + 1))
    return bool(wanted) and any(run == wanted for run in runs)
