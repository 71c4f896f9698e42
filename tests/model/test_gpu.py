"""The torch engine on an NVIDIA GPU against itself on the CPU: same checkpoint, same float32 arithmetic, close bf16.

python -m pytest -n 0 -s tests/model/test_gpu.py
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.cache import LatentCache
from model.checkpoint import load_model
from model.engine import Delta, Finished, Request, Sampling
from model.moe import Experts
from model.runner import Runner
from model.saving import save_model
from model.settings import ModelSettings
from model.speculate import keep
from model.spill import spilled_layers
from model.step import Reading, make_step
from model.torch_engine import TorchEngine
from tests.model.conftest import write_tokenizer
from tests.model.test_drafting import PROMPTS, with_predictor

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

Make = Callable[..., tuple[Path, Any]]
CPU = torch.device("cpu")
GPU = torch.device("cuda")
PROMPT = "The ferry leaves the quay at seven and returns at nine."


@pytest.mark.parametrize("version", [2, 3])
def test_float32_logits_are_those_of_the_cpu(version: int, make_checkpoint: Make) -> None:
    folder = make_checkpoint(version)[0]
    ids = torch.arange(6, 70)[None]
    with torch.inference_mode():
        cpu = load_model(folder, torch.float32, CPU)(ids)
        gpu = load_model(folder, torch.float32, GPU)(ids.to(GPU)).cpu()
    error = float((cpu - gpu).abs().max() / cpu.std())
    print(f"v{version} float32: largest error {error:.1e} standard deviations")
    assert error < 1e-3


@pytest.mark.parametrize("version", [2, 3])
def test_grouped_bf16_experts_stay_close_to_float32(version: int, make_checkpoint: Make) -> None:
    folder = make_checkpoint(version)[0]
    ids = torch.arange(6, 262)[None]
    with torch.inference_mode():
        exact = load_model(folder, torch.float32, GPU)(ids.to(GPU))
        rounded = load_model(folder, torch.bfloat16, GPU)(ids.to(GPU)).float()
    # Rounding may route a token to another expert, so the mean is bounded, not the largest error.
    error = float((exact - rounded).abs().mean() / exact.std())
    print(f"v{version} bf16: mean error {error:.1e} standard deviations")
    assert error < 0.1


@pytest.mark.parametrize("version", [2, 3])
def test_greedy_text_is_that_of_the_cpu(version: int, make_checkpoint: Make) -> None:
    folder = make_checkpoint(version)[0]
    texts = []
    for device in ("cpu", "cuda"):
        engine = TorchEngine(folder, ModelSettings(device=device, dtype="float32"))
        events = list(engine.generate(Request(PROMPT, Sampling(max_tokens=40))))
        texts.append("".join(event.text for event in events if isinstance(event, Delta)))
        assert isinstance(events[-1], Finished) and engine.describe().devices[0].startswith(device)
        engine.close()
    assert texts[0] == texts[1]


def test_fp8_weights_are_kept_on_the_gpu(make_checkpoint: Make, tmp_path: Path) -> None:
    save_model(load_model(make_checkpoint(3)[0], torch.float32, CPU), tmp_path, torch.bfloat16, fp8_block=(128, 128))
    kept = load_model(tmp_path, torch.float32, GPU)
    weights = {name: one.dtype for name, one in kept.named_parameters() if name.endswith("_proj.weight")}
    assert set(weights.values()) == {torch.float8_e4m3fn}
    ids = torch.arange(6, 70)[None]
    with torch.inference_mode():
        expected = load_model(tmp_path, torch.float32, CPU)(ids)
        error = float((kept(ids.to(GPU)).cpu() - expected).abs().max() / expected.std())
    print(f"FP8 kept: largest error {error:.1e} standard deviations")
    assert error < 0.05  # kernels round activations to FP8, plain torch does not


def test_fp8_checkpoints_load_on_the_gpu(make_checkpoint: Make, tmp_path: Path) -> None:
    model = load_model(make_checkpoint(3)[0], torch.float32, CPU)
    save_model(model, tmp_path, torch.bfloat16, fp8_block=(128, 128))
    write_tokenizer(tmp_path)
    scores = []
    for device in ("cpu", "cuda"):
        engine = TorchEngine(tmp_path, ModelSettings(device=device, dtype="float32"))
        scores.append(engine.score(PROMPT, [" yes", " no", " nobody knows"]))
        engine.close()
    for cpu, gpu in zip(*scores, strict=True):
        assert gpu.logprob == pytest.approx(cpu.logprob, abs=1e-2)


@torch.inference_mode()
@pytest.mark.parametrize("fp8", [False, True])
def test_recorded_decode_steps_are_as_exact_as_the_plain_path(fp8: bool, make_checkpoint: Make, tmp_path: Path) -> None:
    # All experts answer every token, so that rounding cannot choose others.
    changes = {"qk_rope_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 4, "n_group": 1, "topk_group": 1}
    folder = make_checkpoint(3, **changes)[0]
    if fp8:
        save_model(load_model(folder, torch.float32, CPU), tmp_path, torch.bfloat16, fp8_block=(128, 128))
        folder = tmp_path
    model, exact = load_model(folder, torch.bfloat16, GPU), load_model(folder, torch.float32, GPU, keep_fp8=False)
    recorded = Runner(model, torch.bfloat16, GPU)
    recorded.open_cache(12, fp8=False)
    plain, wide = (LatentCache(model.config, 12, dtype, GPU) for dtype in (torch.bfloat16, torch.float32))
    draw = random.Random(0)
    lengths, tables = [70, 3, 64], [(5, 2, 7), (4,), (9, 1)]

    def readings(counts: list[int], held: list[int]) -> list[Reading]:
        return [
            Reading([draw.randrange(320) for _ in range(count)], start, pages)
            for count, start, pages in zip(counts, held, tables, strict=False)
        ]

    def difference(got: torch.Tensor, expected: torch.Tensor) -> float:
        return float((got.float() - expected).norm() / expected.norm())

    errors = []
    steps, held = [(lengths, [0, 0, 0])], list(lengths)
    for sequences in (3, 2, 3, 2):  # with one token and with a draft
        for new in (1, 2):
            steps.append(([new] * sequences, list(held)))
            held[:sequences] = [one + new for one in held[:sequences]]
    for counts, before in steps:
        what = readings(counts, before)
        expected = exact.step(make_step(what, GPU), wide)
        ours, theirs = recorded.read([], what, False), model.step(make_step(what, GPU), plain)
        errors.append((difference(ours, expected), difference(theirs, expected)))
    fast, slow = (max(one) for one in zip(*errors[1:], strict=True))
    print(f"fp8 {fp8}: largest relative error {fast:.1e}, of the plain path {slow:.1e}")
    assert fast < 1.5 * slow


@torch.inference_mode()
@pytest.mark.parametrize("drafts", [0, 1, 3])
@pytest.mark.parametrize("fp8", [False, True])
def test_recorded_rounds_take_what_float32_takes(fp8: bool, drafts: int, make_checkpoint: Make, tmp_path: Path) -> None:
    """Each token found, and each first draft, has nearly the largest logit of float32 over the same tokens."""
    changes = {"qk_rope_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 4, "n_group": 1, "topk_group": 1}
    folder = with_predictor(make_checkpoint(3, **changes)[0], tmp_path / "wise", 0.95)
    if fp8:
        model = load_model(folder, torch.float32, CPU)
        save_model(model, tmp_path / "fp8", torch.bfloat16, fp8_block=(128, 128))
        folder = tmp_path / "fp8"
    runner = Runner(load_model(folder, torch.bfloat16, GPU), torch.bfloat16, GPU)
    runner.open_cache(12, fp8=False)
    exact = load_model(folder, torch.float32, GPU, keep_fp8=False)
    cache = LatentCache(exact.config, 13, torch.float32, GPU)
    tables, spare = [[5], [4], [9]], [[2, 7], [0], [1]]
    draw = random.Random(0)
    prompts = [[draw.randrange(6, 320) for _ in range(length)] for length in (62, 3, 30)]
    readings = [Reading(tokens, 0, pages) for tokens, pages in zip(prompts, tables, strict=True)]
    states = runner.read([], readings, False)
    exact.step(make_step(readings, GPU), cache)
    following = [Reading([*tokens[1:], 7], 0, pages) for tokens, pages in zip(prompts, tables, strict=True)]
    if drafts:
        runner.follow(following, states)
    held, last = [len(tokens) for tokens in prompts], [7, 7, 7]
    ahead: list[list[int]] = [[], [11][:drafts], []]
    texts = [[*tokens, 7] for tokens in prompts]
    gaps, ahead_gaps, kept, drafted = [], [], 0, 0
    for _ in range(20):
        for row in range(3):
            if held[row] + 1 + 2 * drafts > 64 * len(tables[row]):
                tables[row].append(spare[row].pop())
        readings = [Reading([one, *own], at, of) for one, own, at, of in zip(last, ahead, held, tables, strict=True)]
        found = runner.advance_all([], readings, drafts, 300)
        for row, one in enumerate(readings):
            logits = exact.logits(exact.step(make_step([one], GPU), cache))[:, :300]
            drawn = [own.token for own in keep(found[row], one.tokens[1:], frozenset())]
            gaps += [_gap(logits[n], token) for n, token in enumerate(drawn)]
            kept, drafted = kept + len(drawn) - 1, drafted + len(one.tokens) - 1
            texts[row] += drawn
            held[row], last[row], ahead[row] = held[row] + len(drawn), drawn[-1], found[row][1 + drafts :]
            if drafts:
                whole = torch.tensor([texts[row]], device=GPU)
                hidden = exact.draft_whole(0, whole[:, 1:], exact.hidden(whole[:, :-1])[0])
                ahead_gaps.append(_gap(exact.logits(hidden)[0, -1, :300], ahead[row][0]))
    for what, own in (("tokens", gaps), ("first drafts", ahead_gaps)):
        same = sum(gap == 0 for gap in own)
        print(
            f"fp8 {fp8}, {drafts} drafts: {what}: {same} of {len(own)} the same, largest gap {max(own, default=0):.2f}"
        )
        assert all(gap < 0.5 for gap in own) and same >= 0.8 * len(own)
    print(f"fp8 {fp8}, {drafts} drafts: {kept} of {drafted} kept")
    assert kept > drafted / 3 or not drafts


def _gap(logits: torch.Tensor, token: int) -> float:
    """How far `token` is from the likeliest, in standard deviations."""
    return float((logits.max() - logits[token]) / logits.std())


@pytest.mark.parametrize("drafts", [1, 3])
def test_an_engine_that_drafts_on_the_gpu_writes_the_same(drafts: int, make_checkpoint: Make, tmp_path: Path) -> None:
    """Alone and together; where texts part, rounding in passes of different lengths may be why, so most must be one."""
    folder = with_predictor(make_checkpoint(3, qk_rope_head_dim=16)[0], tmp_path / "wise", 0.95)
    requests = [Request(prompt, Sampling(max_tokens=40)) for prompt in PROMPTS]
    requests += [Request(PROMPT, Sampling(max_tokens=40, seed=seed, temperature=0.7)) for seed in range(3)]
    found = []
    for count in (0, drafts):
        engine = TorchEngine(folder, ModelSettings(device="cuda", dtype="bfloat16", speculate=count))
        alone, drafted, accepted = [], 0, 0
        for request in requests:
            *events, last = engine.generate(request)
            assert isinstance(last, Finished)
            alone.append("".join(event.text for event in events if isinstance(event, Delta)))
            drafted, accepted = drafted + last.usage.drafted, accepted + last.usage.accepted
        together = [""] * len(requests)
        for number, event in engine.generate_all(requests):
            together[number] += event.text if isinstance(event, Delta) else ""
        engine.close()
        found += [alone, together]
    same = [sum(a == b for a, b in zip(found[0], own, strict=True)) for own in found[1:]]
    print(f"{drafts} drafts: {accepted} of {drafted} kept; {same} of {len(requests)} texts as alone without drafts")
    assert accepted > drafted / 3 and min(same) > len(requests) / 2


@torch.inference_mode()
@pytest.mark.parametrize("fp8", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_spilled_experts_are_copied_before_they_are_used(
    fp8: bool, dtype: torch.dtype, make_checkpoint: Make, tmp_path: Path
) -> None:
    folder = make_checkpoint(3)[0]
    if fp8:
        save_model(load_model(folder, torch.float32, CPU), tmp_path, torch.bfloat16, fp8_block=(128, 128))
        folder = tmp_path
    whole = load_model(folder, dtype, GPU)
    experts = [module for module in whole.modules() if isinstance(module, Experts)]
    stacks = [
        stack
        for one in experts
        for stack in (one.gate_up_proj, one.down_proj, one.gate_up_scale_inv, one.down_scale_inv)
        if stack is not None
    ]
    spilled = load_model(folder, dtype, GPU, expert_bytes=sum(one[:3].nbytes for one in stacks))
    layers = spilled_layers(spilled)
    assert [layer.slots for layer in layers] == [3, 3] and all(layer.down_proj.is_pinned() for layer in layers)
    largest = 0.0
    for trial in range(200):
        x = torch.randn(1, (1, 4, 100)[trial % 3], 64, generator=torch.Generator().manual_seed(trial))
        x = x.to(GPU, dtype)
        for number in (1, 2):
            expected, got = (model.model.layers[number].mlp(x)[0].float() for model in (whole, spilled))
            largest = max(largest, float((got - expected).abs().max() / expected.std()))
    print(f"fp8 {fp8}, {dtype}: largest difference {largest:.1e} standard deviations")
    assert largest < (1e-4 if dtype == torch.float32 else 0.05)
    assert all(layer.hot.hits and layer.hot.misses for layer in layers)


def test_an_engine_with_spilled_experts_answers_as_one_without(make_checkpoint: Make) -> None:
    folder = make_checkpoint(3)[0]
    texts = []
    for gib in ("all", 4 * 3 * 64 * 32 * 4 * 2 / (1 << 30)):
        engine = TorchEngine(folder, ModelSettings(device="cuda", dtype="float32", experts_gib=gib))
        events = engine.generate(Request(PROMPT, Sampling(max_tokens=40)))
        texts.append("".join(event.text for event in events if isinstance(event, Delta)))
        assert ("4 of 8 experts" in engine.describe().devices[0]) == (gib != "all")
        engine.close()
    assert texts[0] == texts[1] != ""
