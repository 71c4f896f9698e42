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
        return f"{done / 1e9:.1f}/{total / 1e9:.1f} GB, {done / 1e6 / max(self.seconds, 1e-3):,.0f} MB/s"
