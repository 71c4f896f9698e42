"""`loci search`: passages of the library, without a model."""

from typing import Annotated

import typer

from app.cli.door import NOTHING, AsJson, In, bounds, leave, note, note_empty, print_json, say, sought, workspace
from app.passages import passage_json
from app.places import place


def register(app: typer.Typer) -> None:
    app.command()(search)


def search(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORD", help="What to look for.", show_default=False)],
    collections: In = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Most passages to show.")] = 10,
    document: Annotated[
        list[str] | None, typer.Option("--document", metavar="DOC", help="Only in this document; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find passages by meaning and by words.

    \b
    loci search warranty of the pump
    loci search "delivery date" --in work --json
    loci search '"delivery date" in:contracts type:pdf after:2024 author:holm'

    Words in quotation marks stand so in the passage; in a question with its question mark, passages that have them so
    are preferred. in: names a folder, type: a kind of file, author: an author;
    after: and before: take 2024, 2024-05 or 2024-05-31; other dates are refused (exit code 2).
    """
    with workspace(ctx) as opened:
        names, documents = bounds(opened, document or (), collections)
        found = opened.search(sought(words), names, limit, documents or None)
        if not found:
            note_empty(opened, names)
    if as_json:
        print_json([passage_json(passage) for passage in found])
    else:
        for passage in found:
            say(f"{place(passage.path, passage.page, passage.line, passage.locator)}  [{passage.score:.3f}]")
            text = " ".join(passage.text.split())
            say(f"    {text if len(text) <= 400 else text[:400] + ' …'}")
            say("".join(f"    also in {path}\n" for path in passage.also))
    if not found:
        note("Nothing found.")
        leave(NOTHING)
