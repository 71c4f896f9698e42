"""`loci ask`: one question, one checked answer."""

import os
import stat
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.door import (
    NOTHING,
    AsJson,
    BestOf,
    In,
    Model,
    bounds,
    console,
    leave,
    note,
    note_empty,
    note_once,
    note_redacted,
    plain,
    print_json,
    say,
    workspace,
)
from app.cli.show import answer_text, model_note, remarks

if TYPE_CHECKING:
    from app.answer import Answer, Ask, Profile
    from app.workspace import Workspace


def register(app: typer.Typer) -> None:
    app.command()(ask)


def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(help="The question, or - to read it from stdin.", show_default=False)],
    collections: In = None,
    again: Annotated[bool, typer.Option("--continue", "-c", help="Continue the last session.")] = False,
    system: Annotated[str | None, typer.Option("--system", "-s", help="A system prompt.")] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template", "-t", metavar="NAME", help="A template of the profile, with {question} and {input}."
        ),
    ] = None,
    schema: Annotated[
        Path | None, typer.Option("--schema", metavar="FILE", help="A JSON Schema that the answer must satisfy.")
    ] = None,
    document: Annotated[
        list[str] | None, typer.Option("--document", metavar="DOC", help="Read this document whole; may be repeated.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="DOC", help="Look in this document alone; may be repeated.")
    ] = None,
    library: Annotated[bool, typer.Option("--library/--no-library", help="Search the library.")] = True,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Recall what is known about you.")] = True,
    incognito: Annotated[bool, typer.Option("--incognito", help="Neither recall nor store anything.")] = False,
    model: Model = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the sampling.")] = 0,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0 is greedy.")] = 0.0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")] = 1024,
    best_of: BestOf = 1,
    as_json: AsJson = False,
) -> None:
    """Answer a question from your documents and what you told, with citations that were checked.

    \b
    loci ask "When does the lease end?"
    loci ask -c "and the notice period?"
    loci ask "What is the notice period?" --only lease.pdf
    git diff | loci ask "What changed?" --no-library
    echo "Who signed it?" | loci ask - --json

    Piped text is an attachment when a question is given. Exit code 3: the library does not answer.
    Quotes are of what was read: beside a source whose file has changed since or is gone, it says so (in JSON, its
    citation has "on_disk": "changed" or "gone").
    """
    from app.answer import Ask
    from app.errors import BadInput

    with workspace(ctx, model__reference=model) as opened:
        question, attached = _input(question)
        if template is not None:
            question, attached = _fill(opened.profile, template, question, attached), ()
        if only and not library:
            raise BadInput("--only looks in the library.", "Leave it out, or --no-library.")
        names, within = bounds(opened, only or (), collections)
        request = Ask(
            question,
            scope=names,
            session=opened.last_session(names) if again else None,
            attachments=attached,
            documents=tuple(opened.library.document(reference).id for reference in document or ()),
            within=within,
            system=system,
            schema=read_schema(schema),
            use_library=library,
            use_memory=memory and not incognito,
            store=not incognito,
            seed=seed,
            max_tokens=max_tokens,
            temperature=temperature,
            best_of=best_of,
        )
        answer = answered(opened, request, as_json)
        if opened.model_loaded:  # what was told, and questions about the library itself, need none
            note_once(opened, model_note(opened.model_info()))
        if answer.abstained and library:
            note_empty(opened, names)
        if answer.turn is not None:
            note_redacted(opened, question)
    tell(answer, as_json)


def _input(question: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The question and what was piped beside it."""
    from app.errors import BadInput

    piped = ""
    if question == "-" or _piped():
        try:
            piped = sys.stdin.read()
        except UnicodeDecodeError as error:
            raise BadInput(f"Standard input is not UTF-8: {error}.", "Convert it, or ingest the file.") from None
        if not piped.isascii() and any("\udc80" <= letter <= "\udcff" for letter in piped):
            # Bytes that are not UTF-8, kept as they are: read as those of a file would be.
            from retrieval.readers.encoding import decode

            piped = decode(piped.encode("utf-8", "surrogateescape"))
    if question == "-":
        question, piped = piped.strip(), ""
    if not question.strip():
        raise BadInput("The question is empty.", "Ask something.")
    return question, (("stdin", piped),) if piped.strip() else ()


def _piped() -> bool:
    """Whether stdin is a pipe or a file; a terminal, /dev/null or a closed stdin bring nothing to wait for."""
    try:
        kind = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):  # closed, or replaced by an object that has no descriptor
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISREG(kind)


def _fill(profile: "Profile", name: str, question: str, attached: tuple[tuple[str, str], ...]) -> str:
    from app.errors import BadInput
    from app.profile import templates

    folder = templates(profile)
    found = [file for file in sorted(folder.glob("*")) if name in (file.name, file.stem)]
    if not found:
        known = ", ".join(sorted(file.stem for file in folder.glob("*"))) or "none yet"
        raise BadInput(f"{folder} has no template {name!r} (there: {known}).", f"Write {folder / name}.txt.")
    # Plain replacement: braces of other kinds, as in JSON, stay as they stand.
    piped = attached[0][1] if attached else ""
    parts = found[0].read_text("utf-8").split("{input}")
    return piped.join(part.replace("{question}", question) for part in parts)


def read_schema(file: Path | None) -> str | None:
    """The text of a JSON Schema file.

    :raises BadInput: it is none.
    """
    if file is None:
        return None
    import json

    from app.errors import BadInput
    from model.errors import why

    try:
        text = file.read_text("utf-8")
        if not isinstance(json.loads(text), dict):
            raise ValueError("it is no object")
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} is no JSON Schema: {why(error)}.", "Give a file that holds a schema object.") from None
    return text


def answered(opened: "Workspace", request: "Ask", as_json: bool) -> "Answer":
    """The answer, with its stages and its draft on stderr where somebody watches."""
    return _streamed(opened, request) if _watched(as_json) else opened.assistant().ask(request)


def tell(answer: "Answer", as_json: bool) -> None:
    """The answer on stdout and its remarks on stderr; exit code 3 if it abstained."""
    if as_json:
        print_json(answer.to_json())
    else:
        say(answer_text(answer))
    for line in remarks(answer):
        note(line)
    if answer.abstained:
        leave(NOTHING)


def _watched(as_json: bool) -> bool:
    return not as_json and sys.stdout.isatty() and sys.stderr.isatty()


def _streamed(opened: "Workspace", request: "Ask") -> "Answer":
    """Show the draft as it is written, on stderr; it vanishes when the checked answer takes its place."""
    events = opened.assistant().turn(request)
    began = next(events)  # the resident is at work while this process imports, 0.1 s
    from rich.live import Live
    from rich.text import Text as Line

    from app.answer import Completed, Started, Text
    from app.loading import LoadMeter

    labels = {
        "wait": "Waiting for another question's end",
        "load": "Loading the model",
        "retrieve": "Searching",
        "read": "Reading",
        "step": "Step",
        "mend": "Rewriting what nothing supports",
        "check": "Checking",
    }
    draft = ""
    with Live(Line(""), console=console(), transient=True, refresh_per_second=12) as live:
        meter = LoadMeter()
        opened.loading = lambda done, total: live.update(Line(f"{labels['load']} {meter(done, total)} …"))
        for event in chain([began], events):
            if isinstance(event, Started) and event.stage in labels and not draft:
                live.update(Line(labels[event.stage] + (f" {event.done}/{event.total}" if event.total else "") + " …"))
            elif isinstance(event, Text) and not event.reasoning:
                draft += event.text
                live.update(Line(plain(draft)))
            elif isinstance(event, Completed):
                return event.answer
    raise AssertionError("a turn ends with Completed")
