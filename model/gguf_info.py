"""What a GGUF file says of itself: for the engine that loaded it, and for whoever asks before."""

from pathlib import Path

from model.engine import Capability, EngineInfo
from model.plan.gguf_header import read_gguf
from model.plan.planner import USUAL_CONTEXT
from model.plan.shape import shape_of_header
from model.settings import ModelSettings


def describe_gguf(file: Path, settings: ModelSettings, reference: str) -> EngineInfo:
    """As its header tells; the window may be shorter where memory is, and the devices are not known yet.

    :raises BadCheckpoint: the header is damaged, or a part is missing.
    """
    header = read_gguf(file)
    shape = shape_of_header(header, file)
    abilities: set[Capability] = {"score", "choice", "json_schema", "grammar", "prefix"}
    if header.metadata.get("tokenizer.chat_template"):
        abilities.add("chat")
    dims = shape.dims
    idle = shape.of("experts").numbers * (dims.experts - dims.used) // max(dims.experts, 1)
    return EngineInfo(
        reference=reference,
        name=shape.name,
        engine="llama",
        architecture=shape.architecture,
        context=settings.context or min(shape.trained_context, USUAL_CONTEXT),
        quantization=shape.quantization,
        devices=(),
        capabilities=frozenset(abilities),
        total_parameters=shape.weights.numbers,
        active_parameters=shape.weights.numbers - idle,
    )
