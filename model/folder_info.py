"""What a checkpoint folder will be as an engine, told from its headers: no weight is read."""

from pathlib import Path

from model.config import read_config
from model.engine import EngineInfo
from model.placement import (
    adapter_folder,
    choose_context,
    choose_device,
    choose_dtype,
    count_parameters,
    read_capabilities,
    read_card,
)
from model.settings import ModelSettings


def describe_folder(folder: Path, settings: ModelSettings, reference: str | None = None) -> EngineInfo:
    """What the engine will be once the checkpoint in `folder` is loaded; reads no weights.

    :raises UnsupportedArchitecture: the engine cannot run it.
    :raises BadCheckpoint: config.json or a file beside it is unreadable.
    """
    config = read_config(folder)
    device = choose_device(settings.device)
    total, active = count_parameters(config)
    computed = str(choose_dtype(settings.dtype, total, device)).removeprefix("torch.")
    name, adapter = str(read_card(folder).get("name") or folder.resolve().name), adapter_folder(settings)
    fp8 = "fp8" if device.type == "cuda" else f"fp8 read as {computed}"
    return EngineInfo(
        reference=reference if reference is not None else str(folder),
        name=name if adapter is None else f"{name} with {adapter.resolve().name}",
        engine="torch",
        architecture=config.architecture,
        context=choose_context(settings.context, config),
        quantization=fp8 if config.fp8_block else computed,
        devices=(str(device),),
        capabilities=read_capabilities(folder),
        total_parameters=total,
        active_parameters=active,
    )
