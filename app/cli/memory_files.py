"""`loci memory export` and `loci memory import`: the memory as a file, and back."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.door import PARTIAL, AsJson, Force, leave, note, print_json, workspace, write_exactly


def export(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Default, and -: stdout.", show_default=False)
    ] = None,
    force: Force = False,
) -> None:
    """Write the memory whole as JSON lines; the file is for its owner alone (mode 0600).

    \b
    loci memory export memories.jsonl
    loci memory export - | gzip > memories.jsonl.gz

    Sessions, turns and feedback are in it: nothing but the vectors is lost, and those are made anew.
    """
    from app.files import private_file

    with workspace(ctx) as opened:
        rows = opened.memory.export()
        if file is None or str(file) == "-":
            for row in rows:
                write_exactly(_line(row))
        else:
            count = 0
            with private_file(file, force=force) as out:
                for row in rows:
                    out.write(_line(row).encode())
                    count += "table" not in row  # rows of other tables go with the memories
            note(f"{count} {'memory is' if count == 1 else 'memories are'} written to {file}.")


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def import_(
    ctx: typer.Context, file: Annotated[Path, typer.Argument(show_default=False)], as_json: AsJson = False
) -> None:
    """Read what `export` wrote; known memories are left alone, bad lines reported (exit code 4).

    \b
    loci memory import memories.jsonl
    """
    from app.errors import BadInput
    from model.errors import why

    try:
        text = file.read_text("utf-8-sig")  # editors on Windows put a mark first
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{file} cannot be read: {why(error)}.", "Give a file that `loci memory export` wrote."
        ) from None
    with workspace(ctx) as opened:
        report = opened.memory.import_(text.rstrip("\n").split("\n"))  # only \n: a text may hold U+2028
    if as_json:
        print_json(asdict(report))
    else:
        for bad in report.bad:
            note(f"{file}, line {bad.line}: {bad.reason}")
        others = f", {report.others} rows of sessions and the like" if report.others else ""
        print(f"{report.added} added, {report.unchanged} known, {len(report.bad)} bad{others}")
        if report.redacted:
            note(f"Kept out of the memory: secrets of {report.redacted} rows.")
        if report.hollow:
            note(f"Left out, as they tell nothing but a secret: {report.hollow} rows.")
    if report.bad:
        leave(PARTIAL)
