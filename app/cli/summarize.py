"""`loci summarize`: what documents say, in a few proven sentences."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.ask import answered, tell
from app.cli.door import AsJson, In, Model, note, scope, workspace
from app.cli.show import model_note

if TYPE_CHECKING:
    from app.workspace import Workspace


def register(app: typer.Typer) -> None:
    app.command()(summarize)


def summarize(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DOC|FILTERS]", help="A document, or filters: in:contracts type:pdf after:2024."),
    ] = None,
    sentences: Annotated[int, typer.Option("--sentences", "-n", min=1, max=100, help="About how many.")] = 8,
    collections: In = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Sum up a document, or those that filters choose; each sentence with a citation that was checked.

    \b
    loci summarize lease.pdf
    loci summarize type:pdf in:contracts -n 20
    loci summarize --in work

    The embedded model chooses sentences word for word; a larger one writes its own, of which those
    stay that the documents prove. The first line says which. Exit code 3: there is nothing to sum up.
    """
    from app.answer import Ask

    names = scope(collections)
    with workspace(ctx, model__reference=model) as opened:
        within = _documents(opened, " ".join(words or ()), names)
        title = f"Summarize {' '.join(words)}" if words else "Summarize everything"
        request = Ask(title, scope=names, within=within, summary=sentences, use_memory=False, store=False)
        answer = answered(opened, request, as_json)
        if opened.model_loaded:
            note(model_note(opened.model_info()))
    tell(answer, as_json)


def _documents(opened: "Workspace", given: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Ids of what `given` names: one document, or all that filters let through; none for the whole scope.

    :raises NoSuchDocument: it names none.
    """
    from app.chosen import chosen
    from app.errors import BadInput
    from retrieval.errors import NoSuchDocument

    if not given:
        return ()
    try:
        found = chosen(opened.library, given, names)
    except BadInput:  # no filters: a document, then
        return (opened.library.document(given).id,)
    if not found:
        raise NoSuchDocument(f"No document in {' and '.join(names)} fits {given!r}.", "`loci library list` shows them.")
    return tuple(one.id for one in found)
