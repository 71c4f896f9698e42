"""The safetensors files of a checkpoint: what their headers say, and their tensors, of one file at a time.

Knows nothing about what the tensors are for.
"""

from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.errors import BadCheckpoint
from model.files import INDEX, SINGLE, read_object


class Header(NamedTuple):
    """What a file says of one tensor."""

    file: str
    shape: list[int]
    dtype: str


class WeightFiles:
    """Headers of all files at once, in the order in which tensors lie in them, and tensors on demand.

    No more than one file is mapped at any time, so that reading in the order of files holds no more than one in memory.
    """

    def __init__(self, folder: Path) -> None:
        """:raises BadCheckpoint: a file is missing, damaged or incomplete, or repeats a tensor of another."""
        self.folder = folder
        self.headers: dict[str, Header] = {}
        self._file: str | None = None
        self._open: Any = None
        for name in weight_files(folder):
            opened = self._at(name)
            for tensor in opened.offset_keys():
                if tensor in self.headers:
                    raise BadCheckpoint(
                        f"{tensor} is in {folder / self.headers[tensor].file} and in {folder / name}.",
                        "Download it again; files of two versions may be mixed.",
                    )
                piece = opened.get_slice(tensor)
                self.headers[tensor] = Header(name, piece.get_shape(), piece.get_dtype())

    def read(self, name: str, part: tuple[slice, ...] | None = None) -> Tensor:
        """The tensor, mapped from its file (copy what is to outlive the next call), or a copy of a `part` of it."""
        file = self._at(self.headers[name].file)
        tensor: Tensor = file.get_tensor(name) if part is None else file.get_slice(name)[part]
        return tensor

    def _at(self, name: str) -> Any:
        if self._file != name:
            self._open = self._file = None  # which unmaps the last one
            try:
                self._open = safe_open(self.folder / name, framework="pt", device="cpu")
            except (OSError, SafetensorError) as error:
                raise BadCheckpoint(
                    f"{self.folder / name} is damaged or incomplete: {error}.", "Download or copy it again."
                ) from error
            self._file = name
        return self._open


def weight_files(folder: Path) -> list[str]:
    """Names of the checkpoint's safetensors files.

    :raises BadCheckpoint: the index is unreadable, or files that it names are missing or elsewhere.
    """
    index = folder / INDEX
    if not index.exists():
        if not (folder / SINGLE).exists():
            raise BadCheckpoint(f"{folder} has neither {SINGLE} nor {INDEX}.", "Only safetensors weights are read.")
        return [SINGLE]
    found = read_object(index).get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise BadCheckpoint(f"{index} is not a safetensors index.", "Download or copy it again.")
    names = sorted(set(found.values()))
    if outside := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
        raise BadCheckpoint(
            f"{index} names what is no safetensors file of its folder: {', '.join(outside)[:200]}.",
            "Take it anew from where the model is published.",
        )
    present = {file.name for file in folder.iterdir()}
    if missing := [name for name in names if name not in present]:
        raise BadCheckpoint(f"{folder} lacks {', '.join(missing)}.", "Finish the download.")
    return names
