"""`loci model card`: how a model was made, what it can do and what not."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.door import note


def card(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            help="The --out folder of `loci model train`. Default: the embedded model.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print the embedded model's card; or write that of a training run from what was measured.

    The card of a run is also kept beside its model, as model/README.md.

    \b
    loci model card
    loci model card ~/run
    """
    from app.errors import BadInput

    if run is None:
        from model.open import embedded_folder

        written = embedded_folder() / "README.md"
        if not written.is_file():
            raise BadInput(f"{written} is missing.", "Reinstall Loci.")
        print(written.read_text("utf-8"), end="")
        return
    from app.train_card import write_card

    text, kept = write_card(run), run / "model" / "README.md"
    kept.write_text(text, encoding="utf-8")
    print(text, end="")
    note(f"Written into {kept}.")
