"""A session as a file for a person: JSON with every branch, or Markdown and HTML of the branch that is meant.

The HTML needs nothing beside it and fetches nothing: no script, no picture, the sources with their quotes under each
answer.
"""

import json
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from app.errors import BadInput
from app.places import within
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
    if form != "html":
        return memory.export_session(session, form, upto)
    return as_html(memory.session(session), memory.branch(session, upto))


def as_html(session: "Session", turns: "Sequence[Turn]") -> str:
    """One page of HTML."""
    from markdown_it import MarkdownIt  # 30 ms

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    title = escape(session.title or f"Session {session.id}")
    parts = [
        f'<!doctype html>\n<html><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>',
        f'<body><h1>{title}</h1><p class="about">Collection {escape(session.scope)}, begun {session.started}</p>',
        *(_turn(turn, markdown) for turn in turns),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _turn(turn: "Turn", markdown: "MarkdownIt") -> str:
    result: dict[str, Any] = json.loads(turn.answer_json) if turn.answer_json else {}
    note = "" if turn.complete else '<p class="about">This answer was cut off.</p>'
    thought = result.get("reasoning")
    thoughts = f"<details><summary>Reasoning</summary><p>{escape(thought)}</p></details>" if thought else ""
    sources = "".join(_source(one) for one in result.get("citations") or ())
    return (
        f"<section><h2>{escape(turn.question)}</h2>{thoughts}{markdown.render(turn.answer)}{note}"
        + (f'<ul class="sources">{sources}</ul>' if sources else "")
        + f'<p class="about">{escape(turn.asked_at)}</p></section>'
    )


def _source(citation: dict[str, Any]) -> str:
    place = within(citation["page"], Locator(**citation["locator"])) or f"line {citation['line']}"
    quote = f": <q>{escape(citation['quote'])}</q>" if citation["quote"] else ""
    title = escape(citation["title"] or citation["path"])
    return f"<li>[{citation['n']}] {escape(citation['status'])} · {title}, {escape(place)}{quote}</li>"
