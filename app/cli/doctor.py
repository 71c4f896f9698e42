"""`loci doctor`: check the installation and the profile."""

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from app.cli.door import FAILED, AsJson, Model, leave, print_json, profile_name, say, workspace


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    ctx: typer.Context,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended.")] = False,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Check the installation and the profile, and say how to mend what is wrong. A resident goes on running.

    \b
    loci doctor
    loci doctor --fix --json
    """
    from app.doctor import examine
    from app.profile import open_profile
    from app.resident.place import Place

    findings = []
    profile = open_profile(profile_name(ctx))
    own = model is not None or Place.of(profile).holder() is None  # else the model that answers is the one examined
    opening = partial(workspace, ctx, alone=own, keep=True, model__reference=model)
    for finding in examine(profile, opening, fix=fix):
        findings.append(finding)
        if not as_json:
            say(f"{finding.state:8} {finding.check:10} {finding.detail or 'in order'}")
            if finding.mend:
                say(f"{'':19} {finding.mend}")
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.state == "problem" for finding in findings):
        leave(FAILED)
