"""`loci serve`: the assistant for other front ends, over HTTP or MCP."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.door import AsJson, In, Model, note, print_json, profile_name, say, scope, workspace

if TYPE_CHECKING:
    from app.serve.turns import Turns
    from app.workspace import Workspace


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    ctx: typer.Context,
    collections: In = None,
    model: Model = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen at; default 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Default 5624; 0 takes a free one.")
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name it may be addressed by; may be repeated."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option("--origin", metavar="URL", help="Web pages of this origin may ask; may be repeated."),
    ] = None,
    remember: Annotated[
        bool | None, typer.Option("--remember/--no-remember", help="Store what is asked, and learn from it.")
    ] = None,
    open_to_all: Annotated[bool, typer.Option("--no-token", help="Ask for no token.")] = False,
    mcp: Annotated[bool, typer.Option("--mcp", help="Speak MCP on stdin and stdout instead of HTTP.")] = False,
    show_token: Annotated[bool, typer.Option("--token", help="Print the token and end.")] = False,
    new_token: Annotated[bool, typer.Option("--new-token", help="Make another token, print it and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Serve the assistant to other programs: library, memory and checked citations behind an OpenAI-compatible API.

    \b
    loci serve                          http://127.0.0.1:5624/v1; the first start shows the token
    loci serve --token                  the token again; give it to the front end as its API key
    loci serve --in work --model hf:ORG/NAME:Q4_K_M
    loci serve --mcp                    search, ask, remember and recall as tools over MCP

    docs/SERVING.md says what requests and answers hold.
    """
    if show_token or new_token:
        return _tell_token(ctx, new_token, as_json)
    given = {"host": host, "port": port, "hosts": _given(allowed_host), "origins": _given(origin), "remember": remember}
    flags: dict[str, Any] = {f"serve__{name}": value for name, value in given.items()}
    with workspace(ctx, model__reference=model, **flags) as opened:
        _ = opened.key  # asked for, if at all, before somebody waits for an answer
        if mcp:
            _speak_mcp(opened, scope(collections))
        else:
            _listen(opened, scope(collections), open_to_all)


def _given(values: list[str] | None) -> tuple[str, ...] | None:
    return tuple(values) if values else None


def _tell_token(ctx: typer.Context, new: bool, as_json: bool) -> None:
    from app.profile import open_profile
    from app.serve.token import renew, token_of

    profile = open_profile(profile_name(ctx))
    token = renew(profile) if new else token_of(profile)[0]
    if as_json:
        print_json({"token": token})
    else:
        say(token)


def _listen(opened: "Workspace", collections: tuple[str, ...], open_to_all: bool) -> None:
    from app.errors import BadInput
    from app.serve.token import token_of
    from model.errors import MissingExtra, install_command

    try:
        from app.serve.gate import LOOPBACK
        from app.serve.http import Served
        from app.serve.run import listen, server, url_of  # 0.4 s
    except ModuleNotFoundError as error:
        raise MissingExtra(f"Serving needs {error.name}.", install_command("serve")) from None
    settings = opened.settings.serve
    if open_to_all and settings.host not in LOOPBACK:
        raise BadInput(f"Whoever reaches {settings.host} could ask.", "Leave --no-token out, or --host.")
    listener = listen(settings.host, settings.port)
    token, made = (None, False) if open_to_all else token_of(opened.profile)
    served = Served(
        _turns(opened),
        opened.library.collections,
        collections,
        settings.remember,
        token,
        settings.hosts,
        settings.origins,
    )

    with listener:
        listener.listen()  # who reads the URL may connect
        say(url_of(listener))
        if made:
            note(f"The token, to be given as API key (shown this once; loci serve --token shows it again): {token}")
        server(served).run(sockets=[listener])


def _speak_mcp(opened: "Workspace", collections: tuple[str, ...]) -> None:
    from model.errors import MissingExtra, install_command

    try:
        from app.serve.mcp import serve  # 1 s
    except ModuleNotFoundError as error:
        raise MissingExtra(f"MCP needs {error.name}.", install_command("mcp")) from None
    serve(opened, _turns(opened), collections, opened.settings.serve.remember)


def _turns(opened: "Workspace") -> "Turns":
    """The assistant's turns: of the resident, which queues them itself, or of a model in this process."""
    from app.resident.workspace import ResidentWorkspace
    from app.serve.turns import Turns

    resident = isinstance(opened, ResidentWorkspace) and opened.resident is not None
    assistant = opened.assistant()
    return Turns(assistant.turn, alone=not resident)
