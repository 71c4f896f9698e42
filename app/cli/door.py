"""What every command shares: the profile in use, how data and errors are shown, and the exit codes."""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from typer.core import TyperGroup

    from app.workspace import Workspace

DONE, FAILED, USAGE, NOTHING, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 4, 130

_SLOW = 1.0
"""Seconds after which a load is shown."""

_LEAST = 16
"""Characters of a table's column that a narrow terminal shows of a longer one, on a second line if it must."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be deleted, and delete nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
BestOf = Annotated[
    int,
    typer.Option(
        "--best-of",
        min=1,
        max=16,
        metavar="N",
        help="Draw N answers; the best supported stands. Not the embedded model.",
    ),
]
In = Annotated[
    list[str] | None, typer.Option("--in", metavar="NAME", help="Collection; may be repeated. Default: main.")
]
InOne = Annotated[str, typer.Option("--in", metavar="NAME", help="Collection.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="REF", help="embedded, a folder, a .gguf file, hf:ORG/NAME, or http(s)://host/v1#name."
    ),
]


def group(help_text: str, kind: "type[TyperGroup] | None" = None) -> typer.Typer:
    """A Typer app for a group of commands, with plain help."""
    return typer.Typer(
        cls=kind,
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


class Root(NamedTuple):
    """What stands before a command's name."""

    profile: str | None
    resident: bool


@contextmanager
def workspace(ctx: typer.Context, *, alone: bool = False, keep: bool = False, **flags: Any) -> "Iterator[Workspace]":
    """The profile that `--profile` names, opened for one command. Flags by key, `__` for the dot; None is not given.

    :param alone: the model runs in this process whatever the settings say, since it is measured or examined; the
        resident's makes room for it.
    :param keep: the resident goes on beside it.
    """
    from app.resident.client import stop
    from app.resident.place import Place
    from app.resident.workspace import ResidentWorkspace
    from app.workspace import Workspace

    _note_new(profile_name(ctx))
    given = {key.replace("__", "."): value for key, value in flags.items()}
    kind = Workspace if alone or not _root(ctx).resident else ResidentWorkspace
    with kind.open(profile_name(ctx), given) as opened, loading() as moved:
        if alone:
            opened.keys.take_over(opened.profile)
        if alone and not keep and stop(Place.of(opened.profile), at_once=False):
            note("The resident has ended: this command loads models itself.")
        opened.loading = moved
        opened.keys.ask = asker()
        yield opened


def asker() -> "Callable[[str], str] | None":
    """Asks the person for a passphrase, unseen; None where nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    from getpass import getpass

    return lambda question: getpass(plain(question), sys.stderr)


def _note_new(name: str | None) -> None:
    """Say that a profile which somebody named is made now, as one that is misspelt would be."""
    from app.profile import locate_profile, others

    profile = locate_profile(name)
    if name is not None and not profile.data.exists():
        there = f" There {'is' if len(others(profile)) == 1 else 'are'}: {', '.join(others(profile))}."
        note(f"The profile {name} is new.{there if others(profile) else ''}")


def profile_name(ctx: typer.Context) -> str | None:
    """What `--profile` says, if anything."""
    return _root(ctx).profile


def _root(ctx: typer.Context) -> Root:
    root: Root = ctx.obj
    return root


def scope(collections: list[str] | None) -> tuple[str, ...]:
    """The collections that `--in` names, each once; `main` if none is."""
    return tuple(dict.fromkeys(collections or ["main"]))


def bounds(
    opened: "Workspace", only: Sequence[str], collections: list[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The collections in which is looked, without `--in` those of the documents that are `only` meant; and their ids.

    :raises BadInput: a document lies elsewhere.
    """
    documents = [opened.library.document(reference, collections or ()) for reference in only]
    names = scope(collections or [one.collection for one in documents])
    for one in documents:
        if one.collection not in names:
            from app.errors import BadInput

            raise BadInput(
                f"{one.path} is in the collection {one.collection}.", "Name that with --in, or leave --in out."
            )
    return names, tuple(one.id for one in documents)


def sought(words: list[str]) -> str:
    """What to look for.

    :raises BadInput: nothing.
    """
    text = " ".join(words).strip()
    if not text:
        from app.errors import BadInput

        raise BadInput("There is nothing to look for.", "Give a word or more.")
    return text


def note_empty(opened: "Workspace", names: Sequence[str]) -> None:
    """Say which of the collections hold no document, as a misspelt one does: silence must not look like an answer."""
    known = opened.library.collections()
    for name in names:
        if name not in known:
            there = f"documents are in: {', '.join(known)}" if known else "`loci ingest PATH` reads some"
            note(f"The collection {name} holds no documents; {there}.")


def note_redacted(opened: "Workspace", text: str | None) -> None:
    """Say which secrets of what a person typed were not stored."""
    from memory.redact import redact

    found = redact(text or "").summary()
    if found and opened.settings.memory.redact:  # settings are read last: they take longer than a short command
        note(f"Kept out of the memory: {found}.")


def note_unembedded(opened: "Workspace") -> None:
    """Say how many memories have no vector that a question can be compared with."""
    if missing := opened.memory.unembedded():
        note(f"Recalled by words alone, until `loci memory reindex`: {missing:,} that another embedder embedded.")


# A terminal obeys these, and documents and file names are written by strangers: C0 but tab and newline, DEL, C1, the
# two overrides that show letters in another order than they have, and the surrogates that stand for bytes of a name
# that is not UTF-8, which no stream of ours could encode.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff]")


def plain(text: str) -> str:
    """The text with its control characters written out, as in `\\x1b[2J`: safe to show in a terminal."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    text = json.dumps(data, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None)
    print(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))  # JSON itself escapes C0 alone


def say(text: str) -> None:
    """Data for a person on stdout, made `plain`."""
    print(plain(text), flush=True)


def write_exactly(text: str) -> None:
    """Text on stdout character by character for a program or file; `plain` if stdout is a terminal."""
    shown = plain(text) if sys.stdout.isatty() else text
    sys.stdout.flush()
    sys.stdout.buffer.write(shown.encode("utf-8", "surrogatepass"))


def note(text: str) -> None:
    """A line for the person, beside the data, made `plain`."""
    print(plain(text), file=sys.stderr, flush=True)


def note_once(opened: "Workspace", text: str) -> None:
    """`note` for what is known once it was read: one line, told once in a profile."""
    from app.profile import said_once

    file = said_once(opened.profile)
    if not file.exists() or text not in file.read_text("utf-8").split("\n"):
        note(text)
        with file.open("a", encoding="utf-8") as out:
            out.write(f"{text}\n")


def counted(number: int, noun: str) -> str:
    """`1 file`, `12,345 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def lasting(seconds: float) -> str:
    """`about 40 s`, `about 12 min`, `about 3 h`, `about 9 days`."""
    if seconds >= 2 * 86400:
        return f"about {seconds / 86400:.0f} days"
    if seconds >= 5400:
        return f"about {seconds / 3600:.0f} h"
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {max(seconds, 1):.0f} s"


def console() -> "Console":
    """Rich, on stderr: bars and the running draft. It respects NO_COLOR and a stderr that is no terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, keep_end: bool = False) -> None:
    """Aligned plain columns on stdout; in a terminal the widest ones are cut until the lines fit.

    :param keep_end: cut the last column at its beginning, as suits paths.
    """
    import shutil

    cells = [[plain(" ".join(str("" if cell is None else cell).split())) for cell in row] for row in rows]
    if not cells:
        return
    cells = [[heading.upper() for heading in headings], *cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if sys.stdout.isatty():
        widths = _fitted(widths, shutil.get_terminal_size().columns - 2 * (len(widths) - 1))
    for *first, last in cells:
        shown = [f"{_beginning(cell, width):{width}}" for cell, width in zip(first, widths, strict=False)]
        say("  ".join([*shown, (_end if keep_end else _beginning)(last, widths[-1])]).rstrip())


def _fitted(widths: Sequence[int], room: int) -> list[int]:
    """The widths of columns, the widest cut until all have room or those have only `_LEAST` left."""
    most = max(widths)
    while most > _LEAST and sum(min(width, most) for width in widths) > room:
        most -= 1
    return [min(width, most) for width in widths]


def _beginning(text: str, room: int) -> str:
    """The text, or as much of it as has room before an ellipsis."""
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _end(text: str, room: int) -> str:
    """The text, or as much of its end as has room behind an ellipsis."""
    return text if len(text) <= room else f"…{text[1 - room :]}"


def confirm(question: str, yes: bool) -> None:
    """Go on if told `--yes` or the person agrees; off a terminal nobody can be asked, and it refuses."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        from app.errors import BadInput

        raise BadInput(f"{question} Nobody can be asked here.", "Give --yes.")
    if not typer.confirm(plain(question), err=True):
        raise typer.Exit(FAILED)


def leave(code: int) -> NoReturn:
    """End the command with this exit code."""
    raise typer.Exit(code)


def debugging() -> bool:
    return os.environ.get("LOCI_DEBUG", "") not in ("", "0")


@contextmanager
def loading() -> "Iterator[Callable[[int, int], None]]":
    """`progress` for a model that takes over a second to load; call it with the bytes read and those to read."""
    from app.loading import LoadMeter

    meter = LoadMeter()
    advance: Callable[[int, int, str], None] | None = None
    with ExitStack() as bar:

        def moved(done: int, total: int) -> None:
            nonlocal advance
            detail = meter(done, total)
            if advance is None and meter.seconds > _SLOW:
                advance = bar.enter_context(progress("Loading the model"))
            if advance is not None:
                advance(done, total, detail)
            if done == total:
                bar.close()

        yield moved


@contextmanager
def progress(label: str, unit: str = "") -> "Iterator[Callable[[int, int, str], None]]":
    """A bar on stderr with time left, if that is a terminal. Call it with done, total, detail.

    With a `unit`, count and rate are shown too; without, `detail` says what there is to say.
    """
    if not sys.stderr.isatty():
        yield lambda done, total, detail: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task(label, total=None, detail="")

        def advance(done: int, total: int, detail: str) -> None:
            if unit:
                detail = f"{done}/{total} {unit}, {bar.tasks[0].speed or 0:.1f}/s  {detail}"
            bar.update(task, completed=done, total=total, detail=plain(detail))

        yield advance
