"""How the torch engine would run a folder of safetensors on a machine: by its own rules, told of another's memory."""

from dataclasses import replace
from pathlib import Path

import torch

from model.cache import PAGE, fp8_row, token_bytes
from model.capacity import Memory, choose_capacity, page_bytes
from model.config import Config
from model.deepseek import DeepseekForCausalLM
from model.errors import ModelError, NotEnoughMemory, UnfitSetting
from model.layout import Layout, choose_layout, rank_bytes
from model.placement import choose_chunk, choose_dtype, count_parameters
from model.plan.machine import GIB, Machine
from model.plan.notes import Notes
from model.plan.place import EMBEDDER, GPU_RUNTIME, Placed, Placement, Use
from model.plan.planner import corrected, largest_quantization
from model.plan.result import DevicePlan, Plan, Refusal
from model.plan.shape import Layer, Shape, Weights
from model.plan.speed import TORCH, TORCH_FLOAT32, Speed, predict
from model.settings import ModelSettings

PROCESS = GIB
"""Host memory of the assistant beside the model: Python, torch and the embedder."""
_DEPTH = 1024
_LEAST_CONTEXT = 512


def plan_torch(
    reference: str,
    folder: Path,
    shape: Shape,
    machine: Machine,
    settings: ModelSettings,
    notes: Notes | None = None,
    key: str = "",
) -> Plan:
    """Layout, window and memory as the engine chooses them, with what it would refuse."""
    notes = notes or Notes(None)
    compute_scale = notes.errors(key).compute
    config = shape.config
    assert config is not None  # the shape is of a folder
    planner = _Planner(folder, config, shape, machine, settings, compute_scale)
    refusal = None
    try:
        layout, context, uses = planner.layout(settings)
    except NotEnoughMemory as error:
        context_left = planner.largest_context()
        smaller = None if context_left else largest_quantization(shape, machine, settings)
        refusal = Refusal(error.message, context_left, smaller and f"{smaller} (GGUF)")
        layout, context, uses = Layout((planner.device,)), settings.context or config.max_position_embeddings, []
    speed = planner.speed(layout, context) if refusal is None else Speed(0.0, 0.0, 0)
    cache_type = "fp8" if settings.cache_type == "fp8" else str(planner.dtype).removeprefix("torch.")
    plan = Plan(
        reference=reference,
        name=shape.name,
        engine="torch",
        architecture=shape.architecture,
        attention=shape.dims.attention,
        quantization=shape.quantization if planner.on_gpu or not config.fp8_block else f"FP8 as {cache_type}",
        weights={name: weights.bytes for name, weights in shape.classes.items()},
        cache_per_token=_per_token(config),
        context=context,
        cache_type=cache_type,
        batch=choose_chunk(shape.active.numbers, planner.device),
        threads=settings.threads or machine.cores,
        devices=tuple(uses),
        prefill=speed.prefill,
        decode=speed.decode,
        depth=speed.depth,
        ranks=len(layout.devices),
        refusal=refusal,
        key=key,
        raw_compute=round(sum(use.compute for use in uses) / compute_scale),
        raw_speed=(speed.prefill, speed.decode),
    )
    plan = corrected(plan, notes)
    return plan if refusal else replace(plan, where=_where(plan, layout), faster=_faster(plan, layout, config))


class _Planner:
    def __init__(
        self,
        folder: Path,
        config: Config,
        shape: Shape,
        machine: Machine,
        settings: ModelSettings,
        compute_scale: float,
    ) -> None:
        self._folder, self._config, self._shape, self._machine = folder, config, shape, machine
        self._settings, self._compute_scale = settings, compute_scale
        named = settings.device if settings.device != "auto" else "cuda" if machine.gpus else "cpu"
        self.device = torch.device(named)
        self.on_gpu = self.device.type == "cuda"
        if self.on_gpu and (self.device.index or 0) >= len(machine.gpus):
            raise UnfitSetting(f"There is no GPU for {named!r}.", "Set model.device to auto or cpu.")
        self._parameters = count_parameters(config)[0]
        self.dtype = choose_dtype(settings.dtype, self._parameters, self.device)
        first = machine.gpus[self.device.index or 0] if self.on_gpu else None
        self._memory = Memory(
            len(machine.gpus) if self.device.index is None else 1,
            first.free - GPU_RUNTIME - EMBEDDER if first else 0,
            first.total if first else 0,
            machine.host_free,
        )

    def layout(self, settings: ModelSettings) -> tuple[Layout, int, list[DevicePlan]]:
        """
        :raises NotEnoughMemory: it does not fit.
        """
        config, memory = self._config, self._memory
        layout = choose_layout(self._folder, config, settings, self.dtype, self.device, self._parameters, memory)
        size = len(layout.devices)
        routed, others = rank_bytes(config, size, self.dtype, self.on_gpu)
        on_device = routed if layout.expert_bytes is None or not self.on_gpu else min(routed, layout.expert_bytes)
        held = others + on_device
        capacity = choose_capacity(config, settings, self.dtype, self.device, held, size, memory)
        cache = capacity.pages * page_bytes(config, settings, self.dtype, size)
        weights = held + _buffers(config, self.dtype)
        if not self.on_gpu:
            host = DevicePlan(
                "host", self._machine.host_free, weights, cache, self._step_bytes(capacity.context), PROCESS
            )
            return layout, capacity.context, [host]
        step = self._step_bytes(capacity.context)
        gpus = self._machine.gpus[(self.device.index or 0) :]
        uses = [
            DevicePlan(
                f"GPU {number} ({gpu.name})",
                gpu.free,
                weights,
                cache,
                step,
                GPU_RUNTIME + (0 if number else EMBEDDER),
            )
            for number, gpu in zip(range(size), gpus, strict=False)
        ]
        spilled = size * (routed - on_device)
        uses.append(DevicePlan("host", self._machine.host_free, spilled, 0, 0, PROCESS * size))
        return layout, capacity.context, uses

    def largest_context(self) -> int | None:
        """The longest window, halved and halved again, that the engine would take."""
        context = (self._settings.context or self._config.max_position_embeddings) // 2
        if not self._holds(_LEAST_CONTEXT):
            return None
        while context > _LEAST_CONTEXT and not self._holds(context):
            context //= 2
        return max(context, _LEAST_CONTEXT)

    def _holds(self, context: int) -> bool:
        try:
            self.layout(self._settings.model_copy(update={"context": context}))
        except ModelError:
            return False
        return True

    def speed(self, layout: Layout, context: int) -> Speed:
        """As if ranks were layers one after the other on one device of all their rates."""
        size = len(layout.devices)
        routed, others = rank_bytes(self._config, 1, self.dtype, self.on_gpu)
        shape = self._as_held(routed, others)
        if not self.on_gpu:
            placed = Placed(Placement(), (), Use())
            machine = self._machine
        else:
            one = self._machine.gpus[0]
            whole = replace(one, bandwidth=one.bandwidth * size, matrix=one.matrix * size)
            machine = replace(self._machine, gpus=(whole,))
            layers = len(shape.layers)
            share = 1.0 if layout.expert_bytes is None else min(layout.expert_bytes * size / max(routed, 1), 1.0)
            moe = [number for number, layer in enumerate(shape.layers) if layer.experts.bytes]
            spilled = tuple(moe[: round(len(moe) * (1 - share))])
            placed = Placed(Placement(layers + 1, (layers + 1,), spilled), (), Use())
        kind, rates = ("f32", TORCH_FLOAT32) if self.dtype == torch.float32 else ("f16", TORCH)
        chunk = choose_chunk(shape.active.numbers, self.device)
        return predict(shape, placed, machine, kind, chunk, min(_DEPTH, context), rates=rates)

    def _as_held(self, routed: int, others: int) -> Shape:
        """The shape with its weights as they lie in memory."""

        def wide(weights: Weights, factor: float) -> Weights:
            return replace(weights, bytes=round(weights.bytes * factor))

        core = others / max(self._shape.weights.bytes - self._shape.of("experts").bytes, 1)
        expert = routed / max(self._shape.of("experts").bytes, 1)
        layers = tuple(Layer(wide(one.core, core), wide(one.experts, expert)) for one in self._shape.layers)
        classes = {kind: wide(one, expert if kind == "experts" else core) for kind, one in self._shape.classes.items()}
        return replace(self._shape, layers=layers, classes=classes)

    def _step_bytes(self, context: int) -> int:
        """Intermediate results of reading a chunk at the end of the window."""
        c, size = self._config, self.dtype.itemsize
        chunk = min(choose_chunk(self._shape.active.numbers, self.device), context)
        # Latents expanded to keys and values, and copies of both in one width, as attention takes them.
        expanded = context * c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim + 2 * c.qk_head_dim)
        width = 4 * c.hidden_size + c.num_attention_heads * (c.qk_head_dim + c.v_head_dim)
        gathered = c.hidden_size // (2 if self.on_gpu and c.fp8_block else 1)  # kernels take what they read in FP8
        width += c.num_experts_per_tok * (gathered + 2 * c.moe_intermediate_size)
        needed = round((size * (expanded + chunk * width) + 4 * c.vocab_size) * self._compute_scale)
        return min(needed, self._memory.workspace) if self.on_gpu else needed


def _buffers(config: Config, dtype: torch.dtype) -> int:
    """Bytes by which routers are wider than `dtype`, and their biases."""
    numbers = config.n_routed_experts * config.hidden_size * (config.num_moe_layers + config.num_nextn_predict_layers)
    with torch.device("meta"):
        model = DeepseekForCausalLM(config)
    return numbers * (4 - dtype.itemsize) + sum(one.numel() * 4 for one in model.buffers())


def _per_token(config: Config) -> dict[str, int]:
    found = {
        "float32": token_bytes(config, torch.float32, False),
        "bfloat16": token_bytes(config, torch.bfloat16, False),
    }
    try:
        fp8_row(config)
    except UnfitSetting:
        return found
    return found | {"fp8": token_bytes(config, torch.bfloat16, True)}


def _where(plan: Plan, layout: Layout) -> tuple[str, ...]:
    gpus = [one for one in plan.devices if one.device != "host"]
    said = []
    if not gpus:
        said.append("Everything is in host memory; the cache takes its memory when it is filled.")
    elif len(gpus) == 1:
        said.append(f"{gpus[0].device} holds attention, shared experts, embedding, head and cache.")
    else:
        said.append(
            f"{len(gpus)} GPUs share heads, experts and head; each holds embedding, norms, routers and the cache."
        )
    if layout.expert_bytes is not None and gpus:
        said.append(
            f"{layout.expert_bytes / GIB:.1f} GiB of routed experts are on each GPU, the most used ones; "
            f"{plan.devices[-1].weights / GIB:.1f} GiB wait in pinned host memory."
        )
    elif gpus:
        said.append("All routed experts are on the GPUs.")
    pages = plan.devices[0].cache // max(plan.cache_per_token.get(plan.cache_type, 1) * PAGE, 1)
    said.append(f"The window is {plan.context:,} tokens; the cache has room for {pages * PAGE:,}.")
    return tuple(said)


def _faster(plan: Plan, layout: Layout, config: Config) -> tuple[str, ...]:
    said = []
    if layout.expert_bytes is not None and plan.devices[-1].weights:
        said.append(f"With {plan.devices[-1].weights / GIB:.1f} GiB more of GPU memory no expert would be copied.")
    if "fp8" in plan.cache_per_token and plan.cache_type != "fp8" and plan.devices[0].device != "host":
        said.append("With model.cache_type fp8 the cache holds 1.8 times the tokens, and long windows decode faster.")
    if plan.devices[0].device == "host" and plan.cache_type == "bfloat16":
        said.append("With a GGUF of it (`loci model convert --type q4_k_m`) a CPU reads a quarter of the bytes.")
    return tuple(said)
