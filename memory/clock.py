"""Times of this room: aware moments in, ISO 8601 stamps that sort as text out. Nothing else reads the clock."""

from datetime import UTC, datetime


def utc(now: datetime | None = None) -> datetime:
    """`now` in UTC, or the present moment when None.

    Raises ValueError for a naive moment: which instant it names depends on the machine it was made on.
    """
    if now is None:
        return datetime.now(UTC)
    if now.tzinfo is None:
        raise ValueError(f"{now!r} has no time zone; pass an aware datetime, for example datetime.now(UTC)")
    return now.astimezone(UTC)


def stamp(now: datetime | None = None) -> str:
    """ISO 8601 with milliseconds and `Z`: of fixed width, so that the order of the text is the order in time."""
    return utc(now).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """The moment that a stamp, or any ISO 8601 text with a time zone, names. Raises ValueError for anything else."""
    return utc(datetime.fromisoformat(text))
