"""The log of a training run: one JSON object a line, with an `event` each. Knows nothing about training.

`start` the model and the recipe; `step` the means since the last one; `sample` continued texts; `reward` what answers
to held-out questions are worth; `stage` what a stage ended with. Every one but `start` names its `stage` and `step`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class RunLog:
    """`log.jsonl` in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "log.jsonl"

    def write(self, entry: Entry) -> None:
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry) + "\n")

    def entries(self) -> list[Entry]:
        """All of them, in order; a last line that was cut off is left out."""
        if not self.file.exists():
            return []
        found = []
        for line in self.file.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def go_back(self, stages: Sequence[str], stage: int, step: int) -> None:
        """Forget what came after step `step` of stage number `stage`, which a resumed run does again."""

        def stays(entry: Entry) -> bool:
            if entry["event"] == "start":
                return True
            number = stages.index(entry["stage"]) if entry["stage"] in stages else len(stages)
            if number == stage:  # at step 0, a stage does again even what it logs before its first step
                return step > 0 and entry["step"] <= step and entry["event"] != "stage"
            return number < stage

        kept = [json.dumps(entry) for entry in self.entries() if stays(entry)]
        partial = self.file.with_suffix(".partial")
        partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        partial.replace(self.file)
