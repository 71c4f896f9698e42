"""What went wrong, as the chat shows it: an error never ends the chat."""

import traceback
from dataclasses import dataclass

from app.errors import LociError


@dataclass(frozen=True, slots=True)
class Failure:
    title: str
    message: str
    mend: str


def failure_of(error: Exception) -> Failure:
    """An error a person can meet in its own words; any other with its kind and place, so that it can be reported."""
    if isinstance(error, LociError):
        return Failure(error.title, error.message, error.mend)
    if isinstance(error, OSError) and error.filename:
        return Failure("A file cannot be used", f"{error.filename}: {error.strerror or error}.", "")
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}, line {frames[-1].lineno})" if frames else ""
    kind = type(error).__name__
    return Failure(
        "Something unexpected went wrong",
        f"{kind}: {error}{place}" if str(error) else f"{kind}{place}",
        "The chat goes on; `loci doctor` checks the profile.",
    )
