"""A picture of a training run from its log, by matplotlib, which only pictures need."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from model.train.runlog import Entry


def draw_training(title: str, entries: Sequence["Entry"], file: Path) -> None:
    """Losses, learning rate, speed and the experts' load over the steps of all stages; held-out losses as dots.

    Where a policy was optimised, also what its answers were worth. `entries` are the log's. Nothing is drawn where no
    step was logged.
    """
    steps = [entry for entry in entries if entry["event"] == "step"]
    if not steps:
        return
    from matplotlib.figure import Figure  # 0.5 s

    at, borders = _positions(entries)
    x = [at[entry["stage"], entry["step"]] for entry in steps]
    answered = [entry for entry in entries if entry["event"] == "reward"]
    figure = Figure(figsize=(12, 12 if answered else 8), layout="constrained")
    figure.suptitle(title)
    (loss, rate), (speed, load), *more = figure.subplots(3 if answered else 2, 2)
    read = [entry for entry in steps if "loss" in entry]
    x_read = [at[entry["stage"], entry["step"]] for entry in read]
    loss.plot(x_read, [entry["loss"] for entry in read], "C0", label="next token")
    drafts = [entry["draft_loss"] for entry in read]
    if None not in drafts:
        loss.plot(x_read, drafts, "C1", label="token after it (drafts)")
    ends = [entry for entry in entries if entry["event"] == "stage" and entry["step"]]
    held_out = [entry["validation_nats_per_token"] for entry in ends]
    loss.plot([at[entry["stage"], entry["step"]] for entry in ends], held_out, "ko", label="held out")
    rate.plot(x, [entry["muon_rate"] for entry in steps], "C2")
    speed.plot(x, [entry["tokens_per_second"] for entry in steps], "C3")
    for layer in range(max((len(entry["load"]) for entry in read), default=0)):
        load.plot(x_read, [entry["load"][layer] for entry in read], label=f"{layer + 1}")
    panels = [
        (loss, "loss", "nats per token"),
        (rate, "learning rate of matrices", ""),
        (speed, "speed", "tokens per second"),
        (load, "busiest expert over the mean, less 1, by routed layer", ""),
    ]
    for reward, parts in more:
        _draw_rewards(reward, parts, [entry for entry in steps if "loss" not in entry], answered, at)
        panels += [(reward, "reward of an answer", ""), (parts, "held-out answers", "mean or share")]
    for axes, name, unit in panels:
        axes.set(title=name, ylabel=unit, xlabel="steps")
        axes.grid(True, alpha=0.3)
        for border, stage in borders:
            axes.axvline(border, color="grey", linewidth=0.5)
            axes.annotate(stage, (border, 1), xycoords=("data", "axes fraction"), fontsize=7, va="top")
    speed.set_yscale("log")
    for axes, _, _ in panels:
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)
    figure.savefig(file)


_PARTS = {
    "f1": "F1",
    "passage": "right passage",
    "form": "well-formed",
    "refused_unanswerable": "refused, rightly",
    "refused_answerable": "refused, wrongly",
}


def _draw_rewards(
    reward: "Axes",
    parts: "Axes",
    sampled: Sequence["Entry"],
    answered: Sequence["Entry"],
    at: dict[tuple[str, int], int],
) -> None:
    """What answers sampled in the rounds and greedy ones to held-out questions were worth, and the latter's parts."""
    x = [at[entry["stage"], entry["step"]] for entry in sampled]
    reward.plot(x, [entry["reward"] for entry in sampled], "C0", label="sampled")
    x = [at[entry["stage"], entry["step"]] for entry in answered]
    reward.plot(x, [entry["reward"] for entry in answered], "ko-", label="held out, greedy")
    for key, name in _PARTS.items():
        parts.plot(x, [entry[key] for entry in answered], ".-", label=name)


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
