"""The models that can be named without looking them up: the embedded one, the one in use, those in the profile."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.workspace import Workspace


def models_here(workspace: "Workspace") -> list[str]:
    """References as `--model` takes them, each once."""
    folder = workspace.profile.data / "models"
    found = [path for path in sorted(folder.glob("*")) if path.suffix == ".gguf" or (path / "config.json").is_file()]
    return list(dict.fromkeys(["embedded", workspace.settings.model.reference, *map(str, found)]))
