"""`loci feedback`: say how the last answer was."""

from typing import Annotated, Literal

import typer

from app.cli.door import note, note_redacted, workspace


def register(app: typer.Typer) -> None:
    app.command()(feedback)


def feedback(
    ctx: typer.Context,
    which: Annotated[
        str, typer.Argument(metavar="last|TURN", help="The last answer, or the number of a turn.")
    ] = "last",
    good: Annotated[bool, typer.Option("--good", help="It helped.")] = False,
    bad: Annotated[bool, typer.Option("--bad", help="It did not.")] = False,
    correct: Annotated[str | None, typer.Option("--correct", metavar="TEXT", help="What it should have said.")] = None,
) -> None:
    """Judge an answer; a correction is remembered, in place of what it corrects.

    \b
    loci feedback last --good
    loci feedback last --correct "The lease ends in May, not March."
    """
    from app.errors import BadInput

    if good + bad + (correct is not None) != 1:
        raise BadInput("One verdict is needed.", "Give exactly one of --good, --bad and --correct TEXT.")
    if correct is not None and not correct.strip():
        raise BadInput("A correction needs the right answer.", "Give --correct TEXT.")
    if which != "last" and not which.isdecimal():
        raise BadInput(f"{which!r} is no turn.", "Give `last`, or a turn's number.")
    verdict: Literal["good", "bad", "correct"] = "good" if good else "bad" if bad else "correct"
    with workspace(ctx) as opened:
        opened.memory.feedback(None if which == "last" else int(which), verdict, correct)
        note_redacted(opened, correct)
        said = "Noted." if correct is None else f"Noted, and remembered: {opened.memory.plain(correct.strip())}"
    note(said)
