"""The command `loci`: its groups put together, and the one place where errors become words and exit codes.

Loads no model library, no Textual and no SQLAlchemy: commands import what they need when they run.
"""

import os
import signal
import sys
from typing import Annotated

import typer

from app.cli.door import FAILED, INTERRUPTED, USAGE, Root, debugging, group, plain
from app.cli.lazy import LazyGroup

# Read when torch is loaded, later: threads that spin while they wait make a busy 2-core machine 10 times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Read at pydantic's first model, later: it would look for plugins of its own in all that is installed, 0.02 s.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")

app = group(
    """A private assistant with a long memory: your documents, your model, checked citations.

    \b
    loci ingest ~/papers            read documents into the library
    loci ask "Who signed it?"       an answer with citations
    loci chat                       the same, in a full-screen chat
    loci demo                       see all of it on a sample library
    """,
    LazyGroup,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # 0.03 s

        print(f"loci {version('loci-assistant')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", metavar="NAME", envvar="LOCI_PROFILE", help="Work in another profile.", show_envvar=False
        ),
    ] = None,
    no_resident: Annotated[
        bool, typer.Option("--no-resident", help="Load model and embedder in this process, for this command.")
    ] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    ctx.obj = Root(profile, not no_resident)


def main() -> int:
    """Run the command line; returns or exits with the exit codes of `app.cli.door`."""
    from app.errors import LociError
    from model.errors import why

    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller; a database must not be given its number
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123  until the process ends
    # Bytes that are not UTF-8 can name a file; as words they could be neither stored nor looked up.
    for word in sys.argv[1:]:
        if any("\ud800" <= letter <= "\udfff" for letter in word) and not os.path.lexists(word):
            return _say("Bad input", f"{word} is not valid UTF-8.", USAGE)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except SystemExit as stop:  # typer's word, after it has shown what is wrong with a command line
        _note_setting(getattr(stop.__context__, "option_name", ""))
        if stop.code == INTERRUPTED:
            # Leaving takes a second where torch is loaded; pressed again meanwhile, it would end by the signal.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise
    except LociError as error:
        if debugging():
            raise
        return _say(error.title, str(error), error.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; the interpreter's own flush at exit must not complain about it either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except UnicodeError as error:  # a line of stdin, say
        if debugging():
            raise
        return _say("Bad input", f"There is text that is not valid UTF-8: {error}.", USAGE)
    except OverflowError as error:  # an id or range beyond what SQLite counts
        if debugging():
            raise
        return _say("Bad input", f"A number is too large: {error}.", USAGE)
    except OSError as error:
        if debugging():
            raise
        named = f"{error.filename}: {why(error)}" if error.filename else why(error)
        return _say("A file cannot be used", f"{named}.", FAILED)
    except Exception as error:  # the outermost door: a person never meets a traceback
        if debugging():
            raise
        return _say("Loci failed unexpectedly", f"{type(error).__name__}: {error}. LOCI_DEBUG=1 shows where.", FAILED)
    return 0


def _note_setting(option: str) -> None:
    """Say that what was given as an option is a setting, where it is one."""
    if not option.startswith("--"):
        return
    from app.settings import keys, variable_of  # pydantic, 0.2 s

    name = option.removeprefix("--").replace("-", "_")
    for key in keys():
        if key.endswith(f".{name}"):
            print(f"There is a setting of that name, {key}: {variable_of(key)}=... or config.toml.", file=sys.stderr)


def _say(title: str, text: str, code: int) -> int:
    red, normal = ("\x1b[31m", "\x1b[0m") if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else ("", "")
    print(f"{red}{title}:{normal} {plain(text)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
