"""`loci model train`: a model from scratch, by a recipe, on a corpus."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.door import PARTIAL, AsJson, leave, note, print_json, progress, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from model.train.run import Options
    from model.train.runlog import Entry


def train(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RECIPE.toml", help="Dimensions, stages, sources, seed.", show_default=False),
    ],
    corpus: Annotated[
        Path, typer.Option("--corpus", metavar="DIR", help="NN.txt.xz, validation.txt.xz and questions.jsonl.xz.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Receives log, checkpoint and, at the end, the model.")
    ],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Prepared tokens and rows. Default: data in --out.")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", metavar="FILE", help="Instead of training one: a tokenizer.json.")
    ] = None,
    dropped: Annotated[
        Path | None,
        typer.Option(
            "--dropped", metavar="FILE", help="Text to leave out, as python -m model.train.decontaminate lists it."
        ),
    ] = None,
    initial: Annotated[
        Path | None, typer.Option("--initial", metavar="DIR", help="Start from this model's weights.")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Question rows to build.  [default: 300000]")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that prepare data. Default: most cores.")
    ] = None,
    ranks: Annotated[int, typer.Option(min=1, help="Processes that train, one GPU each.")] = 1,
    stop_after: Annotated[
        float | None, typer.Option("--stop-after", metavar="SECONDS", help="Stop at a checkpoint, to go on later.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model from scratch, as a recipe says; run it again to go on after an interruption.

    Shows loss, speed and time left, and what the model writes so far; draws the curves into OUT/training.svg. Ends with
    exit code 4 if --stop-after came first. docs/TRAINING.md explains the corpus, and has a recipe that takes seconds.

    \b
    loci model train model/train/embedded.toml --corpus ~/corpus --out ~/run
    loci model train my.toml --corpus ~/corpus --out ~/run --ranks 8
    """
    from model.train.run import Options  # torch, 2 s
    from model.train.run import train as follow

    options = Options(
        recipe=recipe, corpus=corpus, out=out, data=data, tokenizer=tokenizer, dropped=dropped, initial=initial,
        rows=rows or Options.rows, workers=workers or Options.workers, ranks=ranks, stop_after=stop_after,
    )  # fmt: skip
    try:
        with progress("Training") as advance:
            done = follow(options, _Watch(advance))
    except KeyboardInterrupt:
        note("Interrupted; the same command goes on from the last checkpoint.")
        raise
    finally:
        _draw(options)
    if as_json:
        print_json(_result(options, done))
    elif done:
        say(str(out / "model"))
        note(f"Its card: loci model card {out}")
    if not done:
        note("Stopped in time; the same command goes on.")
        leave(PARTIAL)


class _Watch:
    """Turns entries of the log into a bar and notes."""

    def __init__(self, advance: "Callable[[int, int, str], None]") -> None:
        self._advance = advance
        self._spent = 0.0
        self._stage, self._before = "", 0.0

    def __call__(self, entry: "Entry") -> None:
        match entry["event"]:
            case "step":
                self._step(entry)
            case "sample":
                for one in entry["samples"]:
                    note(f"  {one['prompt'][-60:]!r} -> {one['continuation']!r}")
            case "reward":
                note(f"{entry['stage']} step {entry['step']:,}: held-out reward {entry['reward']:.3f}")
            case "stage":
                shown = {name: value for name, value in entry.items() if name not in ("event", "stage", "step")}
                figures = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in shown.items())
                note(f"{entry['stage']} done after {entry['step']:,} steps: {figures}")
            case "note":
                note(entry["text"])

    def _step(self, entry: "Entry") -> None:
        if entry["stage"] != self._stage:
            self._stage, self._before = entry["stage"], self._spent
        self._spent = self._before + entry["seconds"]
        minutes, seconds = divmod(entry["left"], 60)
        found = f"loss {entry['loss']:.3f}" if "loss" in entry else f"reward {entry['reward']:.3f}"
        line = (
            f"{entry['stage']} step {entry['step']:,}: {found}, "
            f"{entry['tokens_per_second']:,} tokens/s, {minutes} min {seconds:02} s left"
        )
        self._advance(int(self._spent), int(self._spent + entry["left"]), line)
        note(line)


def _draw(options: "Options") -> None:
    from importlib.util import find_spec

    from app.train_plot import draw_training
    from model.errors import install_command
    from model.train.runlog import RunLog

    if find_spec("matplotlib") is None:
        note(f"No curves drawn: that needs matplotlib ({install_command('plot')}).")
        return
    draw_training(options.recipe.stem, RunLog(options.out).entries(), options.out / "training.svg")


def _result(options: "Options", done: bool) -> dict[str, Any]:
    import json

    from model.train.runlog import RunLog

    evaluation = options.out / "evaluation.json"
    return {
        "done": done,
        "folder": str(options.out),
        "stages": [entry for entry in RunLog(options.out).entries() if entry["event"] == "stage"],
        "evaluation": json.loads(evaluation.read_text("utf-8")) if evaluation.exists() else None,
    }
