"""Each GPU kernel against the plain formula: on a GPU where there is one, else by Triton's interpreter on the CPU.

Where torch brought no Triton, `make` installs it for these tests.

python -m pytest -n 0 -s tests/model/test_kernels.py
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed")

from model.cache import PAGE, dequantise, quantise
from model.config import Config
from model.fp8 import dequantize, quantize
from model.kernels import gemv, grouped, mla, routing
from model.kernels.latents import Latents, Shape, prepare
from model.moe import Router
from model.rope import rotate
from model.shard import Shard

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCE = 1e-4
"""Largest difference in standard deviations, all in float32."""
EPS = 1e-6


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape).to(DEVICE)


def worst(got: Tensor, expected: Tensor, what: str) -> None:
    difference = float((got.float() - expected.float()).abs().max() / expected.float().std())
    print(f"{what}: largest difference {difference:.1e} standard deviations")
    assert difference < TOLERANCE


def weight(rows: int, columns: int, fp8: bool) -> tuple[gemv.Weight, Tensor]:
    """As the kernel takes it, and as it is to be understood."""
    plain = torch.randn(rows, columns)
    if not fp8:
        return (plain.to(DEVICE), None), plain.to(DEVICE)
    values, scales = quantize(plain, (128, 128))
    wide = dequantize(values, scales, (128, 128), torch.float32)
    return (values.to(DEVICE), scales.to(DEVICE)), wide.to(DEVICE)


def stacked(experts: int, rows: int, columns: int, fp8: bool, parts: int = 1) -> tuple[gemv.Weight, Tensor]:
    """`parts` matrices of each expert below one another, with factors of their own."""
    made = [[weight(rows, columns, fp8) for _ in range(parts)] for _ in range(experts)]
    values = torch.stack([torch.cat([one[0][0] for one in expert]) for expert in made])
    wide = torch.stack([torch.cat([one[1] for one in expert]) for expert in made])
    if not fp8:
        return (values, None), wide
    scales = torch.stack([torch.stack([one[0][1] for one in expert if one[0][1] is not None]) for expert in made])
    return (values, scales if parts > 1 else scales[:, 0]), wide


def rms(x: Tensor, gain: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), gain, EPS)


def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


@pytest.mark.parametrize("fp8", [False, True])
@pytest.mark.parametrize(("tokens", "columns"), [(1, 200), (1, 1500), (3, 200)])
def test_few_tokens_through_two_maps_with_norm_and_residual(fp8: bool, tokens: int, columns: int) -> None:
    x, gain = normal(tokens, columns + 24)[:, :columns], torch.rand(columns).to(DEVICE) + 0.5
    (first, wide), (second, more) = weight(72, columns, fp8), weight(40, columns, fp8)
    both = gemv.linear(x, first, gemv.Norm(gain, EPS), second)
    worst(both, rms(x, gain) @ torch.cat([wide, more]).T, f"norm and two maps, fp8 {fp8}")
    base = normal(tokens, 72)
    worst(gemv.linear(x, first, residual=base), base + x @ wide.T, f"residual, fp8 {fp8}")


@pytest.mark.parametrize("fp8", [False, True])
@pytest.mark.parametrize(("first", "shared"), [(0, True), (2, True), (0, False)])
def test_few_tokens_through_their_experts(fp8: bool, first: int, shared: bool) -> None:
    """Experts before `first` are held elsewhere and add nothing."""
    width, inner, number = 136, 160, 5
    gate_up, wide = stacked(number - first, inner, width, fp8, parts=2)
    down, wide_down = stacked(number - first, width, inner, fp8)
    parts = [weight(192, width, fp8), weight(192, width, fp8), weight(width, 192, fp8)]
    x, gain = normal(2, width), torch.rand(width).to(DEVICE) + 0.5
    weights, chosen = torch.rand(2, 2).to(DEVICE), torch.tensor([[3, 1], [4, 3]], dtype=torch.int32, device=DEVICE)
    got = gemv.experts(
        x, gemv.Norm(gain, EPS), weights, chosen, gate_up, down,
        gemv.Shared(*[one[0] for one in parts]) if shared else None, x, first,
    )  # fmt: skip
    normed, expected = rms(x, gain), x.clone()
    for token, experts in enumerate(chosen.tolist()):
        for share, expert in zip(weights[token], experts, strict=True):
            if expert >= first:
                gate, up = wide[expert - first].chunk(2)
                expected[token] += share * swiglu(normed[token], gate, up, wide_down[expert - first])
    if shared:
        expected += swiglu(normed, *[one[1] for one in parts])
    worst(got, expected, f"experts of two tokens, fp8 {fp8}, from {first}")


@pytest.mark.parametrize("fp8", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_several_tokens_through_their_experts(fp8: bool, first: int) -> None:
    tokens, width, inner, number, local = 21, 136, 160, 5, 3 if first else 5
    gate_up, wide = stacked(local, inner, width, fp8, parts=2)
    down, wide_down = stacked(local, width, inner, fp8)
    x, base, weights = normal(tokens, width), normal(tokens, width), torch.rand(tokens, 2).to(DEVICE)
    chosen = torch.stack([torch.randperm(number)[:2] for _ in range(tokens)]).to(DEVICE, torch.int32)
    rows, counts = routing.assign(chosen, first, local)
    for expert in range(local):
        pairs = (chosen.flatten() == expert + first).nonzero()[:, 0]
        assert counts[expert] == len(pairs)
        assert torch.equal(rows[expert, : len(pairs)].long(), pairs)
    expected = base.clone()
    for token in range(tokens):
        for share, expert in zip(weights[token], chosen[token].tolist(), strict=True):
            if first <= expert < first + local:
                gate, up = wide[expert - first].chunk(2)
                expected[token] += share * swiglu(x[token : token + 1], gate, up, wide_down[expert - first])[0]
    got = grouped.experts(x, weights, chosen, (rows, counts), gate_up, down, base, first)
    worst(got, expected, f"experts of {tokens} tokens, fp8 {fp8}, from {first}")


def test_several_tokens_through_an_fp8_map() -> None:
    x, (held, wide) = normal(37, 200), weight(300, 200, True)
    assert held[1] is not None
    worst(grouped.linear(x, held[0], held[1]), x @ wide.T, "fp8 map of 37 tokens")


def test_rows_are_gathered_and_summed() -> None:
    parts, rows, weights = normal(9, 70), torch.randint(-1, 9, (5, 3)).to(DEVICE), torch.rand(5, 3).to(DEVICE)
    expected = torch.einsum("tk,tkd->td", weights * (rows >= 0), parts[rows.clamp(min=0)])
    worst(grouped.gather_sum(parts, rows, weights), expected, "gathered sum")


ROUTERS = {
    "v3": ("deepseek_v3", 32, 4, 2, 6, True),
    "v3, one group, eleven experts": ("deepseek_v3", 11, 1, 1, 4, True),
    "v2, groups of five": ("deepseek_v2", 20, 4, 3, 5, False),
    "v2-lite": ("deepseek_v2", 64, 1, 1, 6, False),
}


@pytest.mark.parametrize("bias", [0.0, -3.0])
@pytest.mark.parametrize("form", ROUTERS)
def test_experts_are_chosen_as_the_router_does(form: str, bias: float) -> None:
    architecture, number, groups, kept, active, normalise = ROUTERS[form]
    config = Config(
        architecture=architecture, vocab_size=10, hidden_size=16, intermediate_size=8, moe_intermediate_size=8,
        num_hidden_layers=2, num_attention_heads=2, kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4,
        v_head_dim=4, n_routed_experts=number, num_experts_per_tok=active, n_group=groups, topk_group=kept,
        norm_topk_prob=normalise,
        routed_scaling_factor=2.5,
    )  # fmt: skip
    router = Router(config)
    torch.nn.init.normal_(router.weight)
    if config.sigmoid_router:
        router.e_score_correction_bias.normal_().add_(bias)
    router = router.to(DEVICE).requires_grad_(False)
    x = normal(50, 16)
    expected = router(x)
    held = router.e_score_correction_bias if config.sigmoid_router else None
    weights, chosen = routing.choose(F.linear(x, router.weight), held, config)
    assert torch.equal(chosen.long(), expected.experts)
    worst(weights, expected.weights, form)


@pytest.mark.parametrize(
    ("rank", "fp8_cache", "fp8", "new", "lengths", "splits", "interleaved"),
    [
        (32, False, False, 1, [70, 5, 129, 1], 3, True),
        (32, False, False, 3, [70, 5], 4, False),
        (128, True, False, 1, [70, 129], 3, True),
        (256, True, True, 2, [70, 66], 8, True),
    ],
)
def test_attention_over_pages(
    rank: int, fp8_cache: bool, fp8: bool, new: int, lengths: list[int], splits: int, interleaved: bool
) -> None:
    """Shuffled pages, sequences of different length, several new tokens of each that see only what is before them."""
    heads, nope, rope, value, width = 3, 24, 16, 20, 3
    shape = Shape(heads, nope, rope, rank, value, interleaved)
    tokens, pages = new * len(lengths), width * len(lengths)
    tables = torch.randperm(pages).view(-1, width)
    history = torch.randn(pages * PAGE, rank + rope)
    storage = quantise(history, rank) if fp8_cache else history
    storage = storage.view(pages, PAGE, -1).to(DEVICE)
    layer = Latents(storage, fp8_cache)
    places = [place for length in lengths for place in range(length - new, length)]
    owner = [number for number in range(len(lengths)) for _ in range(new)]
    slots = torch.tensor(
        [int(tables[one, place // PAGE]) * PAGE + place % PAGE for one, place in zip(owner, places, strict=True)]
    )
    projected = normal(tokens, heads * (nope + rope) + rank + rope)
    q, kv = projected[:, : heads * (nope + rope)], projected[:, heads * (nope + rope) :]
    gain, angles = torch.rand(rank).to(DEVICE) + 0.5, normal(tokens, rope // 2)
    cos, sin = angles.cos(), angles.sin()
    kv_b, wide = weight(heads * (nope + value), rank, fp8)
    split = wide.view(heads, nope + value, rank)

    queries = prepare(q, kv, gemv.Norm(gain, EPS), kv_b, (cos, sin), slots.to(DEVICE), layer, shape)
    per_head = q.view(tokens, heads, -1)
    expected = torch.cat(
        [
            torch.einsum("mhn,hnr->mhr", per_head[..., :nope], split[:, :nope]),
            rotate(per_head[..., nope:], cos[:, None], sin[:, None], interleaved),
        ],
        dim=-1,
    )
    worst(queries, expected, "queries")
    stored = storage.flatten(0, 1)
    rows = dequantise(stored, rank, torch.float32) if fp8_cache else stored
    written = torch.cat([rms(kv[:, :rank], gain), rotate(kv[:, rank:], cos, sin, interleaved)], dim=1)
    if not fp8_cache:
        worst(rows[slots.to(DEVICE)], written, "stored latents")
    elif DEVICE.type == "cuda":  # the interpreter rounds to e4m3 wrongly
        assert float((stored[slots.to(DEVICE)] == quantise(written, rank)).float().mean()) > 0.9

    scale = (nope + rope) ** -0.5
    ends = torch.tensor(lengths, dtype=torch.int32, device=DEVICE)
    partial, lse, turn = mla.attend(queries, layer, tables.to(DEVICE, torch.int32), ends, scale, shape, splits)
    got = mla.combine(partial, lse, ends, kv_b, shape, turn, torch.float32)
    outs = []
    for number, length in enumerate(lengths):
        own = rows.view(pages, PAGE, -1)[tables[number].to(DEVICE)].flatten(0, 1)
        for query in range(new):
            seen = own[: length - (new - 1 - query)]
            shares = (expected[number * new + query] @ seen.T * scale).softmax(-1)
            outs.append(torch.einsum("hr,hvr->hv", shares @ seen[:, :rank], split[:, nope:]).flatten())
    worst(got, torch.stack(outs), f"attention, rank {rank}, fp8 cache {fp8_cache}, {new} new")


@pytest.mark.parametrize(
    ("size", "fp8_cache", "new", "lengths", "splits"),
    [(2, False, 3, [70, 5], 3), (4, True, 1, [129, 1], 2)],
)
def test_attention_over_the_parts_of_several_ranks_is_that_over_the_whole(
    size: int, fp8_cache: bool, new: int, lengths: list[int], splits: int
) -> None:
    """Every token lies on one rank; of a short sequence, some ranks have nothing."""
    heads, rank, rope, value, width = 4, 128, 16, 20, 3
    shape = Shape(heads, 24, rope, rank, value, True)
    pages = width * len(lengths)
    tables = torch.randperm(pages).view(-1, width).to(DEVICE, torch.int32)
    history = torch.randn(pages * PAGE, rank + rope)
    rows = quantise(history, rank) if fp8_cache else history
    storage = rows.view(pages, PAGE, -1).to(DEVICE)
    queries = normal(new * len(lengths), heads, rank + rope)
    kv_b, _ = weight(heads * (shape.nope + value), rank, False)
    ends = torch.tensor(lengths, dtype=torch.int32, device=DEVICE)
    whole = mla.attend(queries, Latents(storage, fp8_cache), tables, ends, 0.1, shape, splits)
    expected = mla.combine(*whole[:2], ends, kv_b, shape, whole[2], torch.float32)

    sent = []
    for shard in (Shard(number, size) for number in range(size)):
        layer = Latents(storage[:, shard.rank :: size].contiguous(), fp8_cache, shard)
        partial, lse, turn = mla.attend(queries, layer, tables, ends, 0.1, shape, splits)
        sent.append(mla.pack(partial, lse, ends, turn, shard, torch.float32))
    own = shape._replace(heads=heads // size)
    weights = kv_b[0].chunk(size)
    got = [
        mla.combine(*mla.unpack(received, rank), ends, (weights[number], None), own, 0, torch.float32)
        for number, received in enumerate(torch.stack(sent, dim=1))
    ]
    worst(torch.cat(got, dim=1), expected, f"attention of {size} ranks, fp8 cache {fp8_cache}, {new} new")
