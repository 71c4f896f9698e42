"""`loci demo`: everything at once, on the sample library."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.door import FAILED, AsJson, Model, leave, note, print_json, table

if TYPE_CHECKING:
    from app.demo import Kind, Report


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    model: Model = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Work in this new folder, and keep it (LOCI_HOME=DIR).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read the sample library, answer its questions with checked citations, remember a fact across processes.

    \b
    loci demo
    loci demo --json > report.json
    loci demo --keep /tmp/loci-demo && LOCI_HOME=/tmp/loci-demo loci --profile demo chat

    Your own profile is not touched. Exit code 0 only if at least 16 of 20 answers are right with
    verified citations, 4 of 5 unanswerable questions are refused, and the fact told in the first
    run is used in the second.
    """
    from app.demo import Judged, Report, run_demo, sample
    from app.errors import BadInput

    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise BadInput(f"{keep} is not empty.", "Give a new folder.")
    report: Report | None = None
    with tempfile.TemporaryDirectory(prefix="loci-demo-") as scratch:
        for step in run_demo(keep or Path(scratch), sample(), model):
            if isinstance(step, Report):
                report = step
            elif isinstance(step, Judged):
                note(f"{'✓' if step.right else '✗'} {step.question}")
            else:
                note(step)
    assert report is not None, "run_demo ends with its report"
    if as_json:
        print_json(report.to_json())
    else:
        _show(report)
    if not report.passed:
        leave(FAILED)


def _show(report: "Report") -> None:
    rows = [
        ["✓" if item.right else "✗", item.question, item.answer[:48], item.source or item.why, f"{item.seconds:.1f}"]
        for item in report.judged
    ]
    table(["", "question", "answer", "source, or what is missing", "s"], rows)
    model = report.model
    print()
    print(f"Model      {model['name']} ({model['architecture']}, {model['engine']}, {', '.join(model['devices'])})")
    if model["total_parameters"]:
        active = model["active_parameters"] or model["total_parameters"]
        print(f"Size       {model['total_parameters']:,} parameters, {active:,} active per token")
    reading, writing = report.prefill_tokens_per_second, report.decode_tokens_per_second
    rates = [
        f"{rate:,.0f} tokens/s {what}" for rate, what in ((reading, "read"), (writing, "scored or written")) if rate
    ]
    print(f"Speed      {', '.join(rates) or 'no tokens were read or written'}")
    print(f"Library    {report.documents} documents, {report.chunks} chunks, read in {report.ingest_seconds:.1f} s")
    kinds: dict[str, Kind] = {"Right": "question", "Refused": "unanswerable", "Remembered": "memory"}
    for label, kind in kinds.items():
        right, asked = report.total(kind)
        print(f"{label:10} {right} of {asked}")
    print(f"Result     {'passed' if report.passed else 'FAILED'} in {report.seconds:.0f} s")
