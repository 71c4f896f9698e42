"""`loci chat`: the full-screen chat, or a plain one. The only module that imports `tui`."""

import gc
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.door import AsJson, In, Model, note, note_redacted, print_json, say, scope, workspace
from app.cli.show import model_note

if TYPE_CHECKING:
    from app.workspace import Workspace


def register(app: typer.Typer) -> None:
    app.command()(chat)


def chat(
    ctx: typer.Context,
    collections: In = None,
    again: Annotated[bool, typer.Option("--continue", "-c", help="Continue the last session.")] = False,
    model: Model = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines in and out; no full screen.")] = False,
    incognito: Annotated[bool, typer.Option("--incognito", help="Neither recall nor store anything.")] = False,
    as_json: AsJson = False,
) -> None:
    """Talk with your library.

    \b
    loci chat
    loci chat -c
    loci chat --in work --model ~/models/DeepSeek-V2-Lite-Chat
    printf 'Who signed it?\\nand when?\\n' | loci chat --plain

    Off a terminal it is always plain; with --json it answers each line of stdin with one line of JSON, and has no
    commands: a line that begins with a slash is a question, too. The plain chat has the chat's commands (/help) and
    says all in lines of words, as screen readers need it. It ends at the end of its input or at a line /quit.
    """
    names = scope(collections)
    with workspace(ctx, model__reference=model) as opened:
        session = opened.last_session(names) if again else None
        if as_json:
            _json(opened, names, session, incognito=incognito)
        elif plain or not has_screen():
            _plain(opened, names, session, incognito=incognito)
        else:
            gc.disable()  # until the prompt stands (`tui.garbage`): a tenth of the time until then, for nothing found
            _ = opened.key  # asked for, if at all, while there is a terminal to ask in
            from tui.graphics import ask_terminal

            look = opened.settings.chat
            graphics, typed = ask_terminal(lambda: import_module("tui.app")) if look.pictures else (None, "")
            from tui.app import LociChat  # Textual, 0.3 s, while the terminal answers
            from tui.workspace import WorkspaceBackend

            LociChat(
                WorkspaceBackend(opened),
                names,
                session,
                incognito,
                theme=look.theme,
                keys=look.keys,
                graphics=graphics,
                typed=typed,
            ).run()


def has_screen() -> bool:
    """Whether there is a terminal to fill: Textual reads stdin and draws on stderr."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def _plain(opened: "Workspace", names: tuple[str, ...], session: int | None, *, incognito: bool) -> None:
    """Lines in and out, with the commands of the chat."""
    from tui.plain import PlainChat
    from tui.workspace import WorkspaceBackend

    typed = sys.stdin.isatty()
    if typed:
        with suppress(ImportError):  # editing and earlier lines at the prompt, where Python has it
            import readline  # noqa: F401
    note(model_note(opened.model_info()))
    chat = PlainChat(
        WorkspaceBackend(opened),
        names,
        session,
        incognito=incognito,
        say=say,
        note=note,
        asked=lambda question: note_redacted(opened, question),
        typed=typed,
    )
    chat.run(lambda: input("> " if typed else ""))


def _json(opened: "Workspace", names: tuple[str, ...], session: int | None, *, incognito: bool) -> None:
    """A question a line, answered by a line of JSON; follow-ups know the earlier turns of the session."""
    from app.answer import Ask
    from app.errors import LociError

    assistant = opened.assistant()
    note(model_note(opened.model_info()))
    for line in sys.stdin:
        if not (question := line.strip()):
            continue
        try:
            answer = assistant.ask(Ask(question, names, session=session, use_memory=not incognito, store=not incognito))
        except LociError as error:  # a door of its own: one bad turn must not end the conversation
            note(f"{error.title}: {error}")
            continue
        session = answer.session
        if answer.turn is not None:
            note_redacted(opened, question)
        print_json(answer.to_json())
