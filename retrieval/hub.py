"""Models that were downloaded before. Uses no network."""

from pathlib import Path


def downloaded(name: str) -> Path | None:
    """The folder of the model `name` (`ORG/NAME`) in this user's model cache; None if it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
