"""A picture of a training run from its log, by matplotlib, which only pictures need."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.train.runlog import Entry


def draw_training(title: str, entries: Sequence["Entry"], file: Path) -> None:
    """Losses, learning rate, speed and the experts' load over the steps of all stages; held-out losses as dots.

    `entries` are the log's. Nothing is drawn where no step was logged.
    """
    steps = [entry for entry in entries if entry["event"] == "step"]
    if not steps:
        return
    from matplotlib.figure import Figure  # 0.5 s

    at, borders = _positions(entries)
    x = [at[entry["stage"], entry["step"]] for entry in steps]
    figure = Figure(figsize=(12, 8), layout="constrained")
    figure.suptitle(title)
    (loss, rate), (speed, load) = figure.subplots(2, 2)
    loss.plot(x, [entry["loss"] for entry in steps], "C0", label="next token")
    drafts = [entry["draft_loss"] for entry in steps]
    if None not in drafts:
        loss.plot(x, drafts, "C1", label="token after it (drafts)")
    ends = [entry for entry in entries if entry["event"] == "stage" and entry["step"]]
    held_out = [entry["validation_nats_per_token"] for entry in ends]
    loss.plot([at[entry["stage"], entry["step"]] for entry in ends], held_out, "ko", label="held out")
    rate.plot(x, [entry["muon_rate"] for entry in steps], "C2")
    speed.plot(x, [entry["tokens_per_second"] for entry in steps], "C3")
    for layer in range(max(len(entry["load"]) for entry in steps)):
        load.plot(x, [entry["load"][layer] for entry in steps], label=f"{layer + 1}")
    for axes, name, unit in (
        (loss, "loss", "nats per token"),
        (rate, "learning rate of matrices", ""),
        (speed, "speed", "tokens per second"),
        (load, "busiest expert over the mean, less 1, by routed layer", ""),
    ):
        axes.set(title=name, ylabel=unit, xlabel="steps")
        axes.grid(True, alpha=0.3)
        for border, stage in borders:
            axes.axvline(border, color="grey", linewidth=0.5)
            axes.annotate(stage, (border, 1), xycoords=("data", "axes fraction"), fontsize=7, va="top")
    speed.set_yscale("log")
    for axes in (loss, load):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)
    figure.savefig(file)


def _positions(entries: Sequence["Entry"]) -> tuple[dict[tuple[str, int], int], list[tuple[int, str]]]:
    """The steps of the run before and with each logged step, and where each stage begins."""
    at: dict[tuple[str, int], int] = {}
    borders: list[tuple[int, str]] = []
    before = last = 0
    for entry in entries:
        if entry["event"] == "start":
            continue
        if not borders or borders[-1][1] != entry["stage"]:
            before += last
            borders.append((before, entry["stage"]))
        last = entry["step"]
        at[entry["stage"], entry["step"]] = before + last
    return at, borders
