"""From a reference, as a person writes it, to an engine. The one place that knows which engine serves what."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from model.engine import Engine, EngineInfo
from model.errors import UnfitSetting, UnknownModel
from model.files import as_path
from model.hub import of_quantization, parse_reference
from model.settings import ModelSettings

EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a reference means here: which engine, and the folder, file or URL it opens."""

    reference: str
    engine: Literal["torch", "llama", "remote"]
    target: Path | str


def resolve(reference: str) -> Resolved:
    """Find what `reference` names, without loading or connecting to anything.

    `embedded`, a folder, a `.gguf` file, `hf:ORG/NAME[:QUANT][@REVISION]` in the local Hugging Face cache, or
    `http(s)://host/v1#name`.

    :raises UnknownModel: nothing here goes by that name.
    """
    if reference == EMBEDDED:
        return Resolved(reference, "torch", embedded_folder())
    if re.match(r"https?://", reference):
        if "@" in urlsplit(reference).netloc:
            raise UnknownModel(
                "The address of the server holds a name or a key, which would be shown and stored with every answer.",
                "Leave it out of the URL, and set OPENAI_API_KEY.",
            )
        return Resolved(reference, "remote", reference)
    if reference.startswith("hf:"):
        return _from_hub_cache(reference)
    path = as_path(reference)
    if path.suffix == ".gguf" and path.is_file():
        return Resolved(reference, "llama", path)
    if path.is_dir():
        if (path / "config.json").exists():
            return Resolved(reference, "torch", path)
        raise UnknownModel(f"The folder {path} holds no model: it has no config.json.")
    if path.is_file():
        mend = (
            f"Give the folder that it is in: {path.parent}"
            if path.suffix == ".safetensors"
            else "Give a .gguf file, or a folder with config.json and safetensors."
        )
        raise UnknownModel(f"{path} is no model that can be opened by itself.", mend)
    if path.suffix == ".gguf" or len(path.parts) > 1:
        raise UnknownModel(f"{path} does not exist.", "Check the path.")
    raise UnknownModel(
        f"There is no model {reference!r}.",
        "Give --model, or the setting model.reference, `embedded`, a folder of safetensors, a .gguf file, hf:ORG/NAME, "
        "or http(s)://host/v1#name.",
    )


def open_engine(
    reference: str,
    settings: ModelSettings,
    progress: Callable[[int, int], None] | None = None,
    shelves: Path | None = None,
    notes: Path | None = None,
) -> Engine:
    """Load the model that `reference` names.

    `progress` is called with bytes read and bytes to read. What engines of this machine read of prompts they keep in
    the folder `shelves`; what the plan of a GGUF model got wrong goes to the file `notes`.

    :raises ModelError: it is unknown, damaged, unsupported, or needs a package that is not installed.
    """
    found = resolve(reference)
    if settings.adapter is not None and found.engine == "remote":
        raise UnfitSetting(f"{reference} is a server, which has its own adapters.", "Unset model.adapter.")
    if settings.attended_pages is not None and found.engine != "torch":
        raise UnfitSetting(
            f"Pages of the cache are selected by the torch engine, which does not serve {reference}.",
            "Unset model.attended_pages.",
        )
    # Each engine brings its own heavy imports: torch takes about 2 s, llama_cpp about 0.5 s.
    if found.engine == "remote":
        from model.remote_engine import RemoteEngine

        return RemoteEngine(str(found.target), settings)
    if found.engine == "llama":
        from model.llama_engine import LlamaEngine

        return LlamaEngine(Path(found.target), settings, reference, progress, shelves, notes)
    from model.torch_engine import TorchEngine

    return TorchEngine(Path(found.target), settings, reference, progress, shelves)


def describe_reference(reference: str, settings: ModelSettings | None = None) -> EngineInfo:
    """What is known of a model without loading its weights or calling its server.

    :raises ModelError: it is unknown, or its description cannot be read.
    """
    found = resolve(reference)
    settings = settings if settings is not None else ModelSettings()
    if found.engine == "torch":
        from model.folder_info import describe_folder

        return describe_folder(Path(found.target), settings, reference)
    if found.engine == "llama":
        from model.gguf_info import describe_gguf

        return describe_gguf(Path(found.target), settings, reference)
    return EngineInfo(
        reference=reference,
        name=reference.rpartition("#")[2],
        engine=found.engine,
        architecture="",
        context=settings.context or 0,
        quantization="",
        devices=(),
        capabilities=frozenset(),
    )


def embedded_folder() -> Path:
    """Folder of the model that ships in the package.

    :raises UnknownModel: this installation has none.
    """
    folder = Path(str(resources.files("data"))) / "model"
    if not (folder / "config.json").exists():
        raise UnknownModel("This installation carries no embedded model.", "Name another model with --model.")
    return folder


def _from_hub_cache(text: str) -> Resolved:
    reference = parse_reference(text)
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cached = {one.repo_id: one for one in scan_cache_dir(constants.HF_HUB_CACHE).repos if one.repo_type == "model"}
    except CacheNotFound:
        cached = {}
    missing = UnknownModel(f"{text} is not in the local Hugging Face cache.", f"Fetch it first: loci model pull {text}")
    if reference.repository not in cached:
        raise missing
    pin = reference.revision
    revisions = [
        one
        for one in cached[reference.repository].revisions
        if pin is None or pin in one.refs or one.commit_hash.startswith(pin)
    ]
    if not revisions:
        raise missing
    folder = max(revisions, key=lambda revision: revision.last_modified).snapshot_path
    if reference.quantization is None:
        if not (folder / "config.json").exists():
            raise UnknownModel(f"{text} has no config.json.", f"For GGUF, name the file: {text}:Q4_K_M")
        return Resolved(text, "torch", folder)
    files = sorted(
        file
        for file in folder.rglob("*.gguf")
        if of_quantization(file.relative_to(folder).as_posix(), reference.quantization)
    )
    if not files:
        raise missing
    return Resolved(text, "llama", files[0])
