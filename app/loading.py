"""How far a model that is being loaded has come, in words for any door."""

import time


class LoadMeter:
    """Words for a load in progress: bytes read of all, and the rate since the first call."""

    def __init__(self) -> None:
        self._started: float | None = None
        self.seconds = 0.0

    def __call__(self, done: int, total: int) -> str:
        now = time.monotonic()
        self._started = now if self._started is None else self._started
        self.seconds = now - self._started
        unit, size = ("GB", 1e9) if total >= 1e8 else ("MB", 1e6)
        return f"{done / size:.1f}/{total / size:.1f} {unit}, {done / 1e6 / max(self.seconds, 1e-3):,.0f} MB/s"
