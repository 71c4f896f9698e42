"""What can go wrong with a model, in words for the person at the door. Knows nothing about how errors are shown."""

import shlex
import sys
from importlib.util import find_spec
from typing import ClassVar


class ModelError(Exception):
    """Base of this room's errors: a title per class, a message per case, and the mend."""

    title: ClassVar[str] = "The model failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message, mend)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message} {self.mend}".strip()


def install_command(extra: str) -> str:
    """The command that installs an extra beside this very program, whose Python the `pip` of a shell may not reach
    (a virtual environment, pipx); what uv installs has no pip."""
    python = shlex.quote(sys.executable)
    tool = f"{python} -m pip install" if find_spec("pip") else f"uv pip install --python {python}"
    return f"{tool} 'loci-assistant[{extra}]'"


def why(error: Exception) -> str:
    """What went wrong, in words: of a file, without the number and the name that Python adds."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class UnknownModel(ModelError):
    """The reference names no model that an engine here can open."""

    title = "No such model"
    exit_code = 2


class UnfitSetting(ModelError):
    """A setting asks for what this model, its engine or this machine does not have."""

    title = "A setting does not fit"
    exit_code = 2


class PullFailed(ModelError):
    """A model could not be fetched: the Hub refuses, is out of reach, or sent something else than it promised."""

    title = "The model could not be fetched"


class NotEnoughSpace(ModelError):
    """A model, or what it read, takes more of the disk than is free or than the settings allow."""

    title = "Not enough room on disk"


class BadCheckpoint(ModelError):
    """A checkpoint's files are missing, truncated or do not fit together."""

    title = "The checkpoint cannot be read"


class UnsupportedArchitecture(ModelError):
    """The checkpoint is of an architecture or uses a feature that the engine does not implement."""

    title = "Unsupported architecture"


class UnsupportedAdapter(ModelError):
    """An adapter changes a model in a way that the engine does not implement."""

    title = "Unsupported adapter"


class BenchFailed(ModelError):
    """A measurement could not be made."""

    title = "Nothing could be measured"


class MissingExtra(ModelError):
    """An optional package is needed; the mend is the exact install command."""

    title = "An optional package is missing"


class PromptTooLong(ModelError):
    """The prompt and the tokens asked for do not fit the context window."""

    title = "The prompt does not fit the model's window"


class NotANumber(ModelError):
    """What the model computes is no number any more: its weights are damaged, or overflow."""

    title = "The model computes no numbers"
    usual_mend: ClassVar[str] = (
        "Its weights or an adapter are damaged: fetch them again, or unset model.adapter. In bfloat16 a model may also "
        "overflow: set model.dtype to float32."
    )


class UnsupportedConstraint(ModelError):
    """The engine cannot honour this kind of constraint; it refuses instead of ignoring it."""

    title = "Unsupported constraint"
    exit_code = 2


class InvalidSampling(ModelError):
    """A sampling parameter is outside its bounds."""

    title = "Sampling out of bounds"
    exit_code = 2


class RemoteFailed(ModelError):
    """A remote server could not be reached, refused, or answered with something unusable."""

    title = "The remote model failed"


class Unreachable(RemoteFailed):
    """Nobody listens where the remote server should be: it has not started, or is gone."""


class BrokeOff(RemoteFailed):
    """A remote answer ended in the middle, when a part of it had been handed on already."""


class UnsupportedOperation(ModelError):
    """The engine does not offer an optional part of the protocol (scoring, saved prefixes, token-id prompts)."""

    title = "Not offered by this engine"


class CannotSplit(ModelError):
    """The model's dimensions do not divide among that many ranks."""

    title = "The model cannot be split so"
    exit_code = 2


class LostRank(ModelError):
    """A process that held a part of the model ended, or answers no more."""

    title = "A part of the model was lost"


class NotEnoughMemory(ModelError):
    """Weights, experts or the window asked for do not fit the memory that there is."""

    title = "Not enough memory"


class BadRecipe(ModelError):
    """A training recipe, or the data that it is to be trained on, is not as it must be."""

    title = "The recipe cannot be followed"
    exit_code = 2


class TrainingFailed(ModelError):
    """A process that prepares data or trains ended before its work was done."""

    title = "Training stopped"
