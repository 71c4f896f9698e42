"""What plans got wrong: real over planned, of intermediate results and of speeds, kept for the next plan.

One small JSON file, by model, engine and form; speeds by where its parts went, too. A file that cannot be read counts
as empty: it holds nothing that cannot be measured again.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

_LEAST, _MOST = 0.05, 20.0
"""Errors beyond these come from something else than the plan: another program that takes the memory, say."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Real value over planned; 1 where nothing was measured."""

    compute: float = 1.0
    prefill: float = 1.0
    decode: float = 1.0


class Notes:
    """The errors recorded in `file`, which need not exist; None keeps none."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def errors(self, key: str) -> Errors:
        found = self._all().get(key)
        if not isinstance(found, dict):
            return Errors()
        known = {name: found[name] for name in Errors.__dataclass_fields__ if _plausible(found.get(name))}
        return Errors(**known)

    def record(self, key: str, **measured: float) -> None:
        """Replace errors of `key`; what is beyond belief is left as it was.

        Nothing is kept where the file cannot be written: what was measured is of use all the same.
        """
        if self._file is None:
            return
        believed = {name: value for name, value in measured.items() if _plausible(value)}
        everything = self._all() | {key: asdict(replace(self.errors(key), **believed))}
        unfinished = self._file.with_name(f"{self._file.name}.{uuid4().hex}.part")  # others may write, too
        with suppress(OSError):
            try:
                unfinished.write_text(json.dumps(everything, indent=1), encoding="utf-8")
                unfinished.replace(self._file)
            finally:
                unfinished.unlink(missing_ok=True)

    def _all(self) -> dict[str, object]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8")) if self._file is not None else {}
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _plausible(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _LEAST <= value <= _MOST
