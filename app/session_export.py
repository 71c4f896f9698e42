"""A session as a file for a person: JSON with every branch, or Markdown and HTML of the branch that is meant.

Both have the sources with their quotes under each answer, so that its marks mean something where Loci is not. The HTML
needs nothing beside it and fetches nothing: no script, no picture.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from app.errors import BadInput
from app.places import beside_title
from retrieval.types import Locator

if TYPE_CHECKING:
    from pathlib import Path

    from markdown_it import MarkdownIt

    from memory.store import MemoryStore
    from memory.types import Session, Turn

Form = Literal["json", "markdown", "html"]
FORMS: dict[str, Form] = {".json": "json", ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html"}

_STYLE = """
:root { color-scheme: light dark }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.55 system-ui, sans-serif }
h2 { font-size: 1rem; border-left: .25rem solid #b06a00; padding-left: .75rem; white-space: pre-wrap }
pre { overflow: auto; padding: .75rem; border: 1px solid #8886 }
table { border-collapse: collapse } td, th { border: 1px solid #8888; padding: .2rem .5rem }
.about, .sources { color: #777; font-size: .9rem } q { color: CanvasText }
"""


def form_of(file: "Path") -> Form:
    """What a file's name asks for.

    :raises BadInput: it names no form that is known.
    """
    form = FORMS.get(file.suffix.casefold())
    if form is None:
        raise BadInput(f"{file.name} names no form to export.", "End it in .md, .json or .html.")
    return form


def export_session(memory: "MemoryStore", session: int, form: Form, upto: int | None = None) -> str:
    """The session as text; `upto` is the last turn of the branch that is meant (None: of the one asked last).

    :raises NoSuchSession: there is none of this number.
    """
    if form == "json":
        return memory.export_session(session)
    written = as_html if form == "html" else as_markdown
    return written(memory.session(session), memory.branch(session, upto))


def as_markdown(session: "Session", turns: "Sequence[Turn]") -> str:
    """Markdown to read, or to paste elsewhere."""
    lines = [f"# {_title(session)}", "", f"Collection {session.scope}, begun {session.started}."]
    for turn in turns:
        note = "" if turn.complete else " *(incomplete)*"
        quoted = "\n".join(f"> {line}" for line in turn.question.splitlines())
        lines += ["", f"## {turn.asked_at}{note}", "", quoted, "", turn.answer]
        sources = [f"- [{one.mark}] {one.where}{f': “{one.words}”' if one.words else ''}" for one in _sources(turn)]
        lines += ["", *sources] if sources else []
    return "\n".join(lines) + "\n"


def as_html(session: "Session", turns: "Sequence[Turn]") -> str:
    """One page of HTML."""
    from markdown_it import MarkdownIt  # 30 ms

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    title = escape(_title(session))
    parts = [
        f'<!doctype html>\n<html><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>',
        f'<body><h1>{title}</h1><p class="about">Collection {escape(session.scope)}, begun {session.started}</p>',
        *(_section(turn, markdown) for turn in turns),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _section(turn: "Turn", markdown: "MarkdownIt") -> str:
    note = "" if turn.complete else '<p class="about">This answer was cut off.</p>'
    thought = _result(turn).get("reasoning")
    thoughts = f"<details><summary>Reasoning</summary><p>{escape(thought)}</p></details>" if thought else ""
    sources = "".join(
        f"<li>[{one.mark}] {escape(one.where)}{f': <q>{escape(one.words)}</q>' if one.words else ''}</li>"
        for one in _sources(turn)
    )
    return (
        f"<section><h2>{escape(turn.question)}</h2>{thoughts}{markdown.render(turn.answer)}{note}"
        + (f'<ul class="sources">{sources}</ul>' if sources else "")
        + f'<p class="about">{escape(turn.asked_at)}</p></section>'
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """What one mark of an answer stands for."""

    mark: str
    where: str
    """Whether it was verified, the document and the place in it."""
    words: str
    """Of the document or the memory, on one line."""


def _sources(turn: "Turn") -> list[_Source]:
    """Those of an answer, each once, in the order of their marks; cited memories after them."""
    result = _result(turn)
    cited = {one["n"]: _cited(one) for one in reversed(result.get("citations") or ())}
    known = [one for one in result.get("memories") or () if one["cited"]]
    remembered = [_Source(f"m{one['id']}", "remembered", " ".join(one["text"].split())) for one in known]
    return [*(cited[n] for n in sorted(cited)), *remembered]


def _cited(citation: dict[str, Any]) -> _Source:
    place = beside_title(citation["title"], citation["page"], citation["line"], Locator(**citation["locator"]))
    where = f"{citation['status'].replace('_', ' ')} · {citation['title'] or citation['path']}, {place}"
    return _Source(str(citation["n"]), where, " ".join(citation["quote"].split()))


def _result(turn: "Turn") -> dict[str, Any]:
    """The answer as it was given; empty for one that was cut off."""
    return json.loads(turn.answer_json) if turn.answer_json else {}


def _title(session: "Session") -> str:
    return session.title or f"Session {session.id}"
