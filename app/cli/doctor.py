"""`loci doctor`: check the installation and the profile."""

from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.door import FAILED, AsJson, Model, leave, print_json, say, workspace


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    ctx: typer.Context,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended.")] = False,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Check the installation and the profile, and say how to mend what is wrong.

    \b
    loci doctor
    loci doctor --fix --json
    """
    from app.doctor import examine

    findings = []
    with workspace(ctx, alone=True, model__reference=model) as opened:
        for finding in examine(opened, fix=fix):
            findings.append(finding)
            if not as_json:
                say(f"{finding.state:8} {finding.check:10} {finding.detail or 'in order'}")
                if finding.mend:
                    say(f"{'':19} {finding.mend}")
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.state == "problem" for finding in findings):
        leave(FAILED)
