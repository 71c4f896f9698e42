"""Settings of all engines, in one model; `app` composes it with the other rooms'. Unknown keys are an error."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_MOST_GIB = float(1 << 20)
"""Beyond any machine: a typing error or `inf` is refused instead of computed with."""

_LLAMA = frozenset(
    {
        "reference", "adapter", "context", "threads", "gpu_layers", "host_experts", "cache_type", "rope_base",
        "rope_scale", "speculate", "shelf_gib", "shelf_tokens",
    }
)  # fmt: skip
"""What the engine of GGUF models reads."""
_REMOTE = frozenset({"reference", "context", "timeout", "connect_timeout", "retries", "in_flight", "api_key_env"})
"""What the client of remote servers reads."""
_NOT_TORCH = frozenset(
    {
        "gpu_layers", "host_experts", "rope_base", "rope_scale", "timeout", "connect_timeout", "retries", "in_flight",
        "api_key_env",
    }
)  # fmt: skip
"""What the torch engine does not read."""


class ModelSettings(BaseModel):
    """Which model answers and how it is run."""

    model_config = ConfigDict(extra="forbid")

    reference: str = "embedded"
    """`embedded`, a folder of safetensors, a .gguf file, `hf:ORG/NAME[:QUANT]`, or `http(s)://host/v1#name`."""
    adapter: str | None = None
    """A LoRA adapter: a PEFT folder, which is merged into the model (torch engine), or a .gguf file beside a GGUF
    model."""
    context: int | None = Field(default=None, ge=16)
    """Tokens of prompt and answer together; unset, as many as the model was made for."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N` (torch engine)."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Dtype of computation (torch engine): `float32`, `bfloat16`, or `auto`, which is bfloat16 on a GPU and for large
    models on a CPU."""
    ranks: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    """Processes that the torch engine spreads a model over, each with a GPU of its own, or all on the CPU; `auto` is as
    many GPUs as the weights need."""
    attention_layout: Literal["heads", "sequence"] = "heads"
    """What the cache of several ranks holds (torch engine): with `heads` each has all of it, with `sequence` its share
    of every sequence, so that there is room for as many times more tokens, at the price of two messages per layer."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads; unset, the library chooses, save that a small model writes with one: on a busy machine several wait
    for one another, on a quiet one two are a third faster."""
    gpu_layers: int = Field(default=-1, ge=-1)
    """Layers of a GGUF model placed on the GPU; -1 means all that fit."""
    host_experts: Annotated[int, Field(ge=0, le=1024)] | Literal["auto"] = "auto"
    """Layers of a GGUF model on a GPU whose routed experts stay in host memory, the first ones; `auto` is as many as
    must."""
    cache_type: Literal["auto", "f32", "f16", "bf16", "q8_0", "q4_0", "fp8"] = "auto"
    """Element type of the cache. `fp8` is the torch engine's: latents in 8 bits, 1.8 times the tokens of bfloat16 in
    the same memory. `f32`, `f16`, `bf16`, `q8_0` and `q4_0` are a GGUF model's."""
    rope_base: float | None = Field(default=None, gt=1, le=1e12)
    """Rotary base of a GGUF model; unset, what its file says."""
    rope_scale: float | None = Field(default=None, ge=1, le=1024)
    """Times by which YaRN stretches a GGUF model's positions; 1 is not at all; unset, what its file says."""
    cache_gib: float | None = Field(default=None, gt=0, le=_MOST_GIB)
    """Memory of the torch engine's cache in GiB; unset, several windows where there is room."""
    speculate: Annotated[int, Field(ge=0, le=64)] | Literal["auto"] = "auto"
    """Tokens drafted before each pass; 0 is off. In the torch engine the model's own prediction layers draft, and
    `auto` is 1 where it has some; for a GGUF model, what followed the same words before, and `auto` is off."""
    shelf_gib: float = Field(default=8.0, ge=0, le=_MOST_GIB)
    """Disk that read beginnings of prompts may take, in GiB: pinned documents, and sessions if kept."""
    shelf_tokens: int | None = Field(default=None, ge=64)
    """Keep what was read and answered on disk when the engine closes, from so many tokens on; unset, only what is
    pinned is kept."""
    expert_threshold: float = Field(default=0.0, ge=0, lt=1)
    """Gate weight below which a token's expert is skipped (torch engine); 0 skips none. `loci model bench --experts
    --thresholds 0,0.05` tells what it costs and saves."""
    attended_pages: int | None = Field(default=None, ge=4)
    """Pages of 64 tokens that each token of an answer attends to (torch engine): the first, the last two, and those
    that may matter most to it. Unset, all. Prompts are read exactly."""
    experts_gib: Annotated[float, Field(gt=0, le=_MOST_GIB)] | Literal["auto", "all"] = "auto"
    """GPU memory for routed experts in GiB, on each GPU (torch engine): the others wait in pinned host memory, and are
    copied when they are needed. `auto` is all of them, or what fits where they do not; `all` never moves any."""
    timeout: float = Field(default=120.0, gt=0, le=1e6)
    """Seconds without a word from a remote server before it counts as failed; also how long it may say that it is
    busy."""
    connect_timeout: float = Field(default=10.0, gt=0, le=1e6)
    """Seconds to reach a remote server."""
    retries: int = Field(default=2, ge=0, le=100)
    """How often a remote request that failed before its first word is sent again; in a batch, one that broke off
    too."""
    in_flight: int = Field(default=16, ge=1, le=1024)
    """Rows of a batch that a remote server is asked at the same time."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the remote server's key; where it is not set, the system's keyring
    is asked (`keyring set loci URL`). The key itself is never stored."""

    def without_effect(self, engine: Literal["torch", "llama", "remote"]) -> list[str]:
        """Names of the settings that were given and that this engine does not read."""
        given = {name for name in self.model_fields_set if getattr(self, name) != type(self).model_fields[name].default}
        if engine != "torch":
            return sorted(given - (_LLAMA if engine == "llama" else _REMOTE))
        foreign = set() if self.cache_type in ("auto", "fp8") else {"cache_type"}  # the others are a GGUF model's
        return sorted(given & (_NOT_TORCH | foreign))
