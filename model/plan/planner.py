"""Chooses how a GGUF model is run on a machine: placement, window, cache type, batch, threads; or says why not.

Nothing is loaded. The order of wishes: what the settings ask for; then no weights from the disk; then weights on GPUs;
then a longer window.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from model.plan.machine import GIB, Machine
from model.plan.memory import CACHE_BYTES
from model.plan.notes import Notes
from model.plan.place import EMBEDDER, Placed, Window, place, place_as_told, with_process
from model.plan.result import DevicePlan, Plan, Refusal
from model.plan.shape import Shape, scaled
from model.plan.speed import Speed, predict
from model.plan.words import faster, where
from model.settings import ModelSettings

PROCESS = GIB + GIB // 4
"""Host memory of the assistant beside a GGUF model: Python, torch and the embedder (measured, docs/LOG.md), and the
stash of states (llama_stash.py)."""
USUAL_CONTEXT = 16384
"""Tokens of the window where none is asked for; more where GPUs have room for them."""
_LEAST_CONTEXT = 512
_BATCH, _GPU_BATCH = 512, 2048
_DEPTH = 1024
_SLOWEST = 1.0
"""tokens/s below which weights are not streamed from the disk: the model is refused instead."""
QUANTIZATIONS = (
    ("Q8_0", 8.5), ("Q6_K", 6.6), ("Q5_K_M", 5.7), ("Q4_K_M", 4.9), ("Q3_K_M", 3.9), ("Q2_K", 3.0), ("IQ2_XXS", 2.2),
    ("IQ1_M", 1.8),
)  # fmt: skip
"""Usual ones and their bits a weight, over a whole model."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """A way to run the model that fits."""

    window: Window
    placed: Placed
    speed: Speed
    streamed: int


def plan_gguf(
    reference: str, shape: Shape, machine: Machine, settings: ModelSettings, notes: Notes | None = None, key: str = ""
) -> Plan:
    """The best way to run the model of `shape` on `machine` as far as `settings` leave it open.

    `notes` has under `key` what earlier plans of it got wrong.
    """
    notes = notes or Notes(None)
    compute_scale = notes.errors(key).compute
    planner = _Planner(shape, machine, settings, compute_scale)
    chosen = planner.choose()
    refusal = None
    if chosen is None:
        chosen = planner.tried(planner.contexts()[-1], planner.types()[0])
        refusal = planner.refuse(chosen)
    placed, window, speed = chosen.placed, chosen.window, chosen.speed
    uses = [*zip(planner.names(), placed.gpus, strict=True), ("host", placed.host)]
    available = [*(gpu.free for gpu in machine.gpus[: len(placed.gpus)]), machine.host_free]
    shares = [0 if number or name == "host" else EMBEDDER for number, (name, _) in enumerate(uses)]
    plan = Plan(
        reference=reference,
        name=shape.name,
        engine="llama",
        architecture=shape.architecture,
        attention=shape.dims.attention,
        quantization=shape.quantization,
        weights={name: weights.bytes for name, weights in shape.classes.items()},
        cache_per_token=cache_per_token(shape),
        context=window.context,
        cache_type=window.cache_type,
        batch=window.batch,
        threads=settings.threads or machine.cores,
        devices=tuple(
            DevicePlan(name, free, use.weights, use.cache, use.compute, use.runtime + own)
            for (name, use), free, own in zip(uses, available, shares, strict=True)
        ),
        prefill=speed.prefill,
        decode=speed.decode,
        depth=speed.depth,
        streamed=chosen.streamed,
        gpu_layers=placed.placement.gpu_layers,
        layers_of_gpus=placed.placement.layers_of_gpus,
        host_experts=placed.placement.host_experts,
        host_layers=min(len(shape.layers) + 1 - placed.placement.gpu_layers, len(shape.layers)),
        refusal=refusal,
        key=key,
        raw_compute=round(sum(use.compute for _, use in uses) / compute_scale),
        raw_speed=(speed.prefill, speed.decode),
    )
    plan = corrected(plan, notes)
    if refusal is None:
        plan = replace(plan, where=where(plan, shape), faster=faster(plan, planner.better()))
    return plan


def corrected(plan: Plan, notes: Notes) -> Plan:
    """With the speed that a model placed like this was measured to have."""
    errors = notes.errors(plan.speed_key)
    return replace(plan, prefill=plan.raw_speed[0] * errors.prefill, decode=plan.raw_speed[1] * errors.decode)


def cache_per_token(shape: Shape) -> dict[str, int]:
    """Bytes that a token takes in the cache of all layers, by type."""
    return {name: round(len(shape.layers) * shape.dims.cached * size) for name, size in CACHE_BYTES.items()}


def largest_quantization(shape: Shape, machine: Machine, settings: ModelSettings) -> str | None:
    """The largest of the usual ones, smaller than the one there is, in which the model would fit as GGUF."""
    bits = 8 * shape.weights.bytes / shape.weights.numbers
    for name, size in QUANTIZATIONS:
        if size < 0.95 * bits:
            smaller = _Planner(scaled(shape, size / bits), machine, settings, 1.0)
            if smaller.choose(streaming=False) is not None:
                return name
    return None


class _Planner:
    def __init__(self, shape: Shape, machine: Machine, settings: ModelSettings, compute_scale: float) -> None:
        self._shape, self._machine, self._settings = shape, machine, settings
        self._scale = compute_scale
        self._gpus = [one.free - (0 if number else EMBEDDER) for number, one in enumerate(machine.gpus)]
        if not settings.gpu_layers:
            self._gpus = []

    def names(self) -> list[str]:
        return [f"GPU {number} ({self._machine.gpus[number].name})" for number in range(len(self._gpus))]

    def contexts(self) -> list[int]:
        """Windows to try, the most wanted first."""
        if self._settings.context is not None:
            return [self._settings.context]
        context, found = min(self._shape.trained_context, USUAL_CONTEXT), []
        while context >= _LEAST_CONTEXT:
            found.append(context)
            context //= 2
        return found or [self._shape.trained_context]

    def types(self) -> list[str]:
        asked = self._settings.cache_type
        return ["f16", "q8_0", "q4_0"] if asked in ("auto", "fp8") else [asked]

    def choose(self, streaming: bool = True) -> _Choice | None:
        """The first way that fits; with room to spare on GPUs, a longer window."""
        for may_stream in (False, True)[: 1 + streaming]:
            for context in self.contexts():
                for kind in self.types():
                    found = self.tried(context, kind)
                    if self._fits(found, may_stream):
                        return self._stretched(found) if self._settings.context is None else found
        return None

    def tried(self, context: int, cache_type: str) -> _Choice:
        """That window, with long batches where they cost no place on a GPU."""
        short = self._with(context, cache_type, _BATCH)
        if not self._gpus:
            return short
        long = self._with(context, cache_type, _GPU_BATCH)
        return long if long.placed.placement == short.placed.placement else short

    def refuse(self, tried: _Choice) -> Refusal:
        """Why that did not fit, and the largest window and quantisation that would."""
        host, free = tried.placed.host, self._machine.host_free
        over = [
            f"{name} would need {use.total / GIB:.1f} GiB of {free / GIB:.1f}"
            for name, use, free in zip(self.names(), tried.placed.gpus, self._gpus, strict=True)
            if use.total > free
        ]
        if over:
            reason = f"{'; '.join(over)}."
        elif self._shape.weights.bytes > free + sum(self._gpus):
            reason = (
                f"The weights take {self._shape.weights.bytes / GIB:.1f} GiB; {free / GIB:.1f} GiB of host memory "
                f"and {sum(self._gpus) / GIB:.1f} GiB of GPU memory are free."
            )
        else:
            other = host.compute + host.runtime
            reason = (
                f"Beside what GPUs take, host memory would need {host.total / GIB:.1f} GiB "
                f"({host.weights / GIB:.1f} of weights, {host.cache / GIB:.1f} of cache, {other / GIB:.1f} of other "
                f"things); {free / GIB:.1f} GiB are free."
            )
        if tried.streamed and not over:
            reason += f" From the disk it would write {tried.speed.decode:.2g} tokens a second."
        return Refusal(
            reason,
            self._largest_context(tried.window.context),
            largest_quantization(self._shape, self._machine, self._settings),
        )

    def better(self) -> Iterator[tuple[str, Speed]]:
        """Changes that may make it faster, with the speed that each would give."""
        bits = 8 * self._shape.weights.bytes / self._shape.weights.numbers
        smaller = next((one for one in QUANTIZATIONS if one[1] < 0.8 * bits and one[1] >= 4), None)
        if smaller is not None:
            found = _Planner(
                scaled(self._shape, smaller[1] / bits), self._machine, self._settings, self._scale
            ).choose()
            if found is not None:
                yield f"the same model in {smaller[0]}", found.speed
        held = [one for one in self._machine.gpus if self._settings.gpu_layers]
        if held:
            roomy = [replace(one, free=one.free + self._shape.weights.bytes) for one in held]
            found = _Planner(
                self._shape, replace(self._machine, gpus=tuple(roomy)), self._settings, self._scale
            ).choose()
            if found is not None:
                yield "GPU memory for all of it", found.speed

    def _with(self, context: int, cache_type: str, batch: int) -> _Choice:
        # As llama_native.py and llama.cpp choose: an exact cache does without, a quantised one cannot.
        able = not self._gpus or self._shape.dims.flash_on_gpu
        flash = cache_type.startswith("q") or (able and cache_type != "f32")
        window = Window(context, cache_type, batch, flash=flash, compute_scale=self._scale)
        told = self._settings.gpu_layers
        if self._gpus and (told > 0 or self._settings.host_experts != "auto"):
            placed = place_as_told(self._shape, self._gpus, window, told, self._settings.host_experts)
        else:
            placed = place(self._shape, self._gpus, window)
        placed = with_process(placed, PROCESS)
        unheld = max(placed.host.total - self._machine.host_free, 0)
        speed = predict(self._shape, placed, self._machine, cache_type, batch, min(_DEPTH, context), unheld)
        return _Choice(window, placed, speed, unheld)

    def _fits(self, choice: _Choice, may_stream: bool) -> bool:
        over = any(use.total > free for use, free in zip(choice.placed.gpus, self._gpus, strict=True))
        if over or not choice.streamed:
            return not over
        # Only routed experts are read seldom enough to come from the disk.
        layers = self._shape.layers
        first = len(layers) + 1 - choice.placed.placement.gpu_layers
        there = {*range(min(first, len(layers))), *choice.placed.placement.host_experts}
        routed = sum(layers[one].experts.bytes for one in there)
        return may_stream and choice.streamed <= routed and choice.speed.decode >= _SLOWEST

    def _stretched(self, choice: _Choice) -> _Choice:
        """A window twice, four times ... as long, as long as no weight has to move for it."""
        best, layers = choice, len(self._shape.layers) + 1
        if choice.placed.placement.gpu_layers < layers or choice.placed.placement.host_experts:
            return choice
        context = best.window.context * 2
        while context <= self._shape.trained_context:
            found = self.tried(context, best.window.cache_type)
            moved = found.placed.placement.host_experts or found.placed.placement.gpu_layers < layers
            if moved or not self._fits(found, may_stream=False):
                break
            best, context = found, context * 2
        return best

    def _largest_context(self, asked: int) -> int | None:
        """The largest multiple of 256 below `asked` that fits, whatever the cache type."""
        least, most = 0, asked // 256
        while least < most:
            middle = (least + most + 1) // 2
            if any(self._fits(self.tried(256 * middle, kind), True) for kind in self.types()):
                least = middle
            else:
                most = middle - 1
        return 256 * least if 256 * least >= _LEAST_CONTEXT else None
