"""The retention model as people read it in a terminal, with pictures in characters."""

from collections.abc import Mapping
from typing import Any

_WIDTH = 30


def retention_figures(stats: Mapping[str, Any]) -> list[str]:
    """Who decides and how well: the gate's verdict, a calibration plot, and memories by age."""
    verdict, calibration = stats["verdict"], stats["calibration"]
    versions = ", ".join(map(str, stats["versions"])) or "none"
    decides = "recency" if stats["model"] is None else f"model {stats['model']}"
    lines = [f"retention: {decides} decides; versions {versions}"]
    if verdict is not None:
        lines.append(f"gate: {verdict['reason']}, {verdict['examples']} held-out labels")
    if verdict is not None and verdict["model"]:
        losses = ", ".join(f"{name} {verdict[name]:.3f}" for name in ("model", "constant", "incumbent"))
        lines.append(f"log-loss: {losses}")
    if calibration is not None:
        lines.append(f"calibration error {calibration['error']:.3f} over {calibration['labels']} labels:")
        lines.append("  predicted  used")
        for part in calibration["bins"]:
            lines.append(f"      {part['predicted']:.3f}  {part['used']:.3f}  {_bar(part['used'], part['predicted'])}")
    if stats["curve"]:
        lines.append("age in days     memories  kept  used")
    for row in stats["curve"]:
        age = "older" if row["until_days"] is None else f"up to {row['until_days']}"
        lines.append(
            f"  {age:<12}  {row['memories']:>8,}  {row['active']:>4.0%}  {row['used']:>4.0%}  {_bar(row['active'])}"
        )
    if stats["evicted"]:
        lines.append(f"archived for the budget: {stats['evicted']:,}, brought back {stats['restored']:,}")
    return lines


def _bar(share: float, mark: float | None = None) -> str:
    """A bar as long as `share`, with `|` where `mark` stands."""
    drawn = list("█" * round(share * _WIDTH) + "·" * (_WIDTH - round(share * _WIDTH)))
    if mark is not None:
        drawn[min(_WIDTH - 1, round(mark * _WIDTH))] = "|"
    return "".join(drawn)
