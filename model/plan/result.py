"""What a plan says: data for any door."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """Bytes that a device is to hold, of those that it has to give."""

    device: str
    available: int
    weights: int
    cache: int
    compute: int
    runtime: int
    """driver, libraries and margin; on the host the assistant's own process with its embedder"""

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.compute + self.runtime


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why it does not fit, and what would."""

    reason: str
    largest_context: int | None = None
    """tokens, where a shorter window would fit"""
    largest_quantization: str | None = None
    """of the usual ones, where a smaller one would fit"""

    @property
    def mend(self) -> str:
        ways = []
        if self.largest_context:
            ways.append(f"a window of {self.largest_context:,} tokens would fit (model.context)")
        if self.largest_quantization:
            ways.append(f"the same model in {self.largest_quantization} would fit")
        if not ways:
            return "Take a smaller model (`loci model suggest`), or a machine with more memory."
        text = "; ".join(ways)
        return f"{text[0].upper()}{text[1:]}."


@dataclass(frozen=True, slots=True)
class Plan:
    """How an engine would run a model on a machine, or why it would not."""

    reference: str
    name: str
    engine: Literal["torch", "llama"]
    architecture: str
    attention: str
    quantization: str
    weights: dict[str, int]
    """bytes by class, as the files hold them"""
    cache_per_token: dict[str, int]
    """bytes by cache type"""
    context: int
    cache_type: str
    batch: int
    threads: int
    devices: tuple[DevicePlan, ...]
    """GPUs, then the host"""
    prefill: float
    """tokens/s"""
    decode: float
    """tokens/s"""
    depth: int
    """tokens in the cache at that speed"""
    streamed: int = 0
    """bytes of weights that the host's memory does not hold: they are read from the disk when they are needed"""
    gpu_layers: int = 0
    layers_of_gpus: tuple[int, ...] = ()
    host_experts: tuple[int, ...] = ()
    """layers whose routed experts are kept in host memory beside a GPU"""
    host_layers: int = 0
    """layers that the host computes, all of them without a GPU"""
    ranks: int = 1
    where: tuple[str, ...] = ()
    """what went where, in sentences"""
    faster: tuple[str, ...] = ()
    """what would make it faster, in sentences"""
    refusal: Refusal | None = None
    key: str = field(default="", repr=False)
    """under which errors of its memory are noted"""
    raw_compute: int = field(default=0, repr=False)
    """bytes of intermediate results before recorded errors corrected them"""
    raw_speed: tuple[float, float] = field(default=(0.0, 0.0), repr=False)
    """prefill and decode likewise"""

    @property
    def fits(self) -> bool:
        return self.refusal is None

    @property
    def speed_key(self) -> str:
        """Under which errors of its speed are noted: what is true of one placement is not of another."""
        if not self.host_layers:
            where = "experts on the host" if self.host_experts else "whole"
        else:
            where = "layers on the host" if self.gpu_layers else "host"
        return f"{self.key} {where}"

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        for name in ("key", "raw_compute", "raw_speed"):
            del values[name]
        return values | {
            "fits": self.fits,
            "devices": [asdict(one) | {"total": one.total} for one in self.devices],
            "refusal": None if self.refusal is None else asdict(self.refusal) | {"mend": self.refusal.mend},
        }
