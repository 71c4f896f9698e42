"""Pictures of measurements, by matplotlib, which only they need."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import BadInput
from model.errors import MissingExtra

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
        raise MissingExtra("A plot needs matplotlib.", "Install it with: pip install 'loci-assistant[plot]'")


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


def draw_experts(title: str, shares: Mapping[str, Sequence[Sequence[float]]], file: Path) -> None:
    """A heat map per domain, of each expert's share [layers][experts] in the choices of its layer."""
    from matplotlib.figure import Figure  # 0.5 s

    columns = min(len(shares), 3)
    rows = -(-len(shares) // columns)
    figure = Figure(figsize=(4 * columns + 1, 3 * rows), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    most = max(max(layer) for layers in shares.values() for layer in layers)
    for one, (domain, layers) in zip(axes, shares.items(), strict=False):
        image = one.imshow(layers, aspect="auto", vmin=0.0, vmax=most, cmap="viridis")
        one.set(title=domain, xlabel="expert", ylabel="routed layer")
    for unused in axes[len(shares) :]:
        unused.set_axis_off()
    figure.colorbar(image, ax=axes.tolist(), label="share of the choices of a layer")
    figure.savefig(file)
