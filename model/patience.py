"""When a request that failed is worth another try, and how long to wait before it.

Failures are counted. A server that is busy and says so fails nothing: it is asked again for as long as it may be
silent. Waits are spread at random, so that many requests that failed together do not come back together (M. Brooker,
"Exponential Backoff And Jitter", 2015: full jitter).
"""

import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MOST = 30.0
"""Seconds of the longest wait, whatever a server asks for."""

_FIRST = 0.5
"""Seconds of the first wait at most; each later one may be twice as long."""


class Transient(Exception):
    """A failure that another try may mend."""

    def __init__(self, message: str, after: float | None = None, busy: bool = False, unreachable: bool = False) -> None:
        super().__init__(message)
        self.after = after
        """Seconds that the server asked to wait."""
        self.busy = busy
        """The server works, and has no room just now."""
        self.unreachable = unreachable
        """There was not even a connection."""


class Patience:
    """The tries of one request."""

    def __init__(self, retries: int, seconds: float) -> None:
        """`retries` after failures; `seconds` for being told that the server is busy."""
        self._retries = retries
        self._end = time.monotonic() + seconds
        self.tries = 1
        self._failures = 0

    def wait(self, error: Transient) -> bool:
        """Wait for the next try; False if there is to be none."""
        if error.busy:
            if time.monotonic() > self._end:
                return False
        elif self._failures == self._retries:
            return False
        else:
            self._failures += 1
        time.sleep(delay(self.tries - 1, error.after))
        self.tries += 1
        return True


def delay(attempt: int, after: float | None) -> float:
    """Seconds before the try after `attempt` (from 0): what the server asked and up to a quarter more, else full
    jitter. Servers that ask for 0 are not asked again at once for ever."""
    if after:
        return min(after, MOST) * random.uniform(1.0, 1.25)
    return random.uniform(0.0, min(MOST, _FIRST * 2.0 ** min(attempt, 10)))


def retry_after(header: str, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms (RFC 9110, section 10.2.3)."""
    try:
        return max(float(header), 0.0) if header.strip()[:1].isdigit() else _until(header, now)
    except (ValueError, TypeError):
        return None


def _until(header: str, now: datetime | None) -> float:
    date = parsedate_to_datetime(header)
    return max((date.replace(tzinfo=date.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds(), 0.0)
