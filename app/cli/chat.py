"""`loci chat`: the full-screen chat, or a plain one. The only module that imports `tui`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.door import AsJson, In, Model, note, note_redacted, print_json, say, scope, workspace
from app.cli.show import answer_text, model_note, remarks

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

    Off a terminal it is always plain; with --json it answers each line of stdin with one line of JSON.
    The plain chat ends at the end of its input or at a line /quit.
    """
    names = scope(collections)
    with workspace(ctx, model__reference=model) as opened:
        session = opened.last_session(names) if again else None
        if plain or as_json or not has_screen():
            _plain(opened, names, session, incognito=incognito, as_json=as_json)
        else:
            _ = opened.key  # asked for, if at all, while there is a terminal to ask in
            from tui.app import LociChat  # Textual, 0.4 s
            from tui.workspace import WorkspaceBackend

            look = opened.settings.chat
            LociChat(WorkspaceBackend(opened), names, session, incognito, theme=look.theme, keys=look.keys).run()


def has_screen() -> bool:
    """Whether there is a terminal to fill: Textual reads stdin and draws on stderr."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def _plain(opened: "Workspace", names: tuple[str, ...], session: int | None, *, incognito: bool, as_json: bool) -> None:
    """A question a line, until the input ends; follow-ups know the earlier turns of the session."""
    from app.answer import Ask
    from app.errors import LociError

    assistant = opened.assistant()
    note(model_note(opened.model_info()))
    while True:
        try:
            question = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if not question:
            continue
        word = question.split()[0]
        if (
            not as_json and word.startswith("/") and "/" not in word[1:]
        ):  # a command, as the full-screen chat tells them
            if question in ("/quit", "/exit"):
                return
            note(f"{word}: the plain chat has no commands but /quit; write a question a line.")
            continue
        request = Ask(question, names, session=session, use_memory=not incognito, store=not incognito)
        try:
            answer = assistant.ask(request)
        except LociError as error:  # a door of its own: one bad turn must not end the conversation
            note(f"{error.title}: {error}")
            continue
        session = answer.session
        if answer.turn is not None:
            note_redacted(opened, question)
        if as_json:
            print_json(answer.to_json())
        else:
            say(answer_text(answer) + "\n")
            for line in remarks(answer):
                note(line)
