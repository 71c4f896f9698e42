"""Pictures of measurements, by matplotlib, which only they need."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import BadInput
from model.errors import MissingExtra, install_command

if TYPE_CHECKING:
    from model.bench import Row


def check_plot(file: Path) -> None:
    """Refuse before anything is measured.

    :raises BadInput: `file` is no .svg or .png, or its folder does not exist.
    :raises MissingExtra: matplotlib is not installed.
    """
    if file.suffix not in (".svg", ".png"):
        raise BadInput(f"{file} is neither .svg nor .png.", "Name it so.")
    if not file.absolute().parent.is_dir():
        raise BadInput(f"There is no folder {file.absolute().parent}.", "Make it first.")
    if find_spec("matplotlib") is None:
        raise MissingExtra("A plot needs matplotlib.", install_command("plot"))


def draw(title: str, rows: Sequence["Row"], file: Path) -> None:
    """Rates over context lengths, a line per batch size, with their ceilings dashed."""
    from matplotlib.figure import Figure  # 0.5 s

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    figure.suptitle(title)
    for axes, kind in zip(figure.subplots(1, 2), ("prefill", "decode"), strict=True):
        for number, batch in enumerate(sorted({row.batch for row in rows})):
            own = sorted((row for row in rows if row.batch == batch), key=lambda row: row.context)
            contexts = [row.context for row in own]
            axes.plot(contexts, [getattr(row, kind) for row in own], f"C{number}o-", label=f"batch {batch}")
            ceilings = [getattr(row, f"{kind}_ceiling") for row in own]
            if None not in ceilings:
                axes.plot(contexts, ceilings, f"C{number}--", label=f"ceiling of batch {batch}")
        axes.set(title=kind, xlabel="tokens of context", ylabel="tokens per second", xscale="log", yscale="log")
        axes.grid(True, which="both", alpha=0.3)
        axes.legend()
    figure.savefig(file)


def draw_experts(title: str, first: int, shares: Mapping[str, Sequence[Sequence[float]]], file: Path) -> None:
    """A heat map per domain, of each expert's share [layers][experts] in the choices of its layer; layers are counted
    from `first`, the first that has experts."""
    from matplotlib.figure import Figure  # 0.5 s

    columns = min(len(shares), 3)
    rows = -(-len(shares) // columns)
    figure = Figure(figsize=(4 * columns + 1, 3 * rows), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    most = max(max(layer) for layers in shares.values() for layer in layers)
    for one, (domain, layers) in zip(axes, shares.items(), strict=False):
        edges = -0.5, len(layers[0]) - 0.5, first + len(layers) - 0.5, first - 0.5
        image = one.imshow(layers, aspect="auto", vmin=0.0, vmax=most, cmap="viridis", extent=edges)
        one.set(title=domain, xlabel="expert", ylabel="layer")
    for unused in axes[len(shares) :]:
        unused.set_axis_off()
    figure.colorbar(image, ax=axes.tolist(), label="share of the choices of a layer")
    figure.savefig(file)


def draw_heat_map(title: str, cells: Sequence[Mapping[str, Any]], file: Path) -> None:
    """A map per task of the share found, depth over length; each share is written into its cell, too.

    `cells` are those of `app.evaluation.context`; a task without depths has one row.
    """
    from matplotlib.figure import Figure  # 0.5 s

    tasks = list(dict.fromkeys(str(cell["task"]) for cell in cells)) or ["nothing measured"]
    figure = Figure(figsize=(4 * len(tasks) + 1, 5), layout="constrained")
    figure.suptitle(title)
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False).flatten(), tasks, strict=True):
        own = [cell for cell in cells if cell["task"] == task]
        lengths = sorted({cell["length"] for cell in own})
        depths = sorted({cell["depth"] for cell in own}, key=lambda depth: depth or 0.0)
        share = {(cell["depth"], cell["length"]): cell["score"] for cell in own}
        rows = [[share.get((depth, length), float("nan")) for length in lengths] for depth in depths]
        if rows:
            # Light is found: one scale of grey, so that paper and every eye show the same.
            axes.imshow(rows, aspect="auto", vmin=0.0, vmax=1.0, cmap="gray")
        for (depth, length), score in share.items():
            where = lengths.index(length), depths.index(depth)
            axes.text(*where, f"{score:.2f}", ha="center", va="center", color="black" if score > 0.5 else "white")
        axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths], rotation=45)
        axes.set_yticks(range(len(depths)), ["" if depth is None else f"{depth:.0%}" for depth in depths])
        axes.set(title=task, xlabel="tokens", ylabel="depth" if depths != [None] else "")
    figure.savefig(file)
