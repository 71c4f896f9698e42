"""Errors of the resident as the door raises them again: the same class, the same words."""

from importlib import import_module
from typing import Any

from app.errors import AppError, LociError, ResidentFailed

_ROOMS = ("app", "memory", "model", "retrieval")


def pack_error(error: Exception) -> dict[str, str]:
    if isinstance(error, LociError):
        kind = type(error)
        return {"module": kind.__module__, "name": kind.__name__, "message": error.message, "mend": error.mend}
    return {"message": f"{type(error).__name__}: {error}."}


def unpack_error(packed: dict[str, Any]) -> Exception:
    """The error that was packed; one that no person was meant to meet is a `ResidentFailed`."""
    if packed.get("module", "").partition(".")[0] in _ROOMS:
        kind = getattr(import_module(packed["module"]), packed["name"], AppError)
        if isinstance(kind, type) and issubclass(kind, LociError):
            return kind(packed["message"], packed["mend"])
    return ResidentFailed(packed["message"], "The resident goes on; --no-resident shows whether it is its fault.")
