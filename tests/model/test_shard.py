"""A model split over ranks: the same numbers as the whole one, and each rank holds its share and no more."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from model.checkpoint import load_model
from model.config import Config
from model.errors import CannotSplit
from model.parallel import Ranks
from model.random_weights import SHAPES, random_model
from model.saving import save_model
from model.shard import WHOLE, Shard, check_split
from model.tensors import named_tensors
from model.weight_files import WeightFiles
from tests.model.rank_parts import ModelPart, build_model

CPU = torch.device("cpu")

SMALL = {
    # 344 columns are three FP8 blocks, the last one partial; 331 words do not divide.
    "v2-lite": replace(
        SHAPES["v2-lite"], vocab_size=331, hidden_size=64, intermediate_size=344, moe_intermediate_size=32,
        num_hidden_layers=3, num_attention_heads=4, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8,
        v_head_dim=12, n_routed_experts=8, num_experts_per_tok=3, initializer_range=0.1,
    ),
    "v3": replace(
        SHAPES["v3"], vocab_size=320, hidden_size=64, intermediate_size=96, moe_intermediate_size=32,
        num_hidden_layers=3, num_attention_heads=4, q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=16,
        qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=16, num_experts_per_tok=4, first_k_dense_replace=1,
        attention_bias=True, tie_word_embeddings=True, initializer_range=0.1,
    ),
    "fp8": replace(
        SHAPES["v3"], vocab_size=320, hidden_size=256, intermediate_size=384, moe_intermediate_size=128,
        num_hidden_layers=3, num_attention_heads=4, q_lora_rank=128, kv_lora_rank=128, qk_nope_head_dim=64,
        qk_rope_head_dim=64, v_head_dim=64, n_routed_experts=16, num_experts_per_tok=4, n_shared_experts=2,
        first_k_dense_replace=1, initializer_range=0.1,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random checkpoint of each shape."""
    made, generator = {}, torch.Generator().manual_seed(0)
    for shape, config in SMALL.items():
        model = random_model(config, torch.float32, CPU, fp8=shape == "fp8")
        with torch.no_grad():
            for name, tensor in named_tensors(model).items():
                if name.endswith(("bias", "norm.weight")):  # so that one counted twice is noticed
                    tensor.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.3, generator=generator)
        made[shape] = tmp_path_factory.mktemp(shape)
        save_model(model, made[shape], torch.float32)
    return made


@pytest.mark.parametrize(
    ("shape", "keep_fp8", "size"),
    [("v2-lite", False, 2), ("v3", False, 2), ("v3", False, 4), ("fp8", True, 2), ("fp8", False, 2)],
)
def test_ranks_compute_what_the_whole_model_computes(
    folders: dict[str, Path], shape: str, keep_fp8: bool, size: int
) -> None:
    folder = folders[shape]
    tokens = torch.randint(0, 320, (150,), generator=torch.Generator().manual_seed(0)).tolist()
    whole = ModelPart(folder, keep_fp8, WHOLE, CPU)
    ranks: Ranks[ModelPart] = Ranks(partial(build_model, folder, keep_fp8), [CPU] * size, threads=1)
    try:
        largest = 0.0
        for start, end in ((0, 140), (140, 149), (149, 150)):  # expanded, absorbed, a single token
            expected = whole.read(tokens[start:end], start)
            for found in ranks.ask("read", tokens[start:end], start):
                largest = max(largest, float((found - expected).abs().max()))
        if whole.model.mtp:
            expected = whole.draft(tokens[:8], tokens[1:9])
            largest = max(largest, float((ranks.call("draft", tokens[:8], tokens[1:9]) - expected).abs().max()))
        print(f"{shape}, {size} ranks: largest difference of logits {largest:.1e}, spread {expected.std():.2f}")
        assert expected.std() > 0.1
        assert largest < 5e-5

        assert ranks.call("generate", tokens[:20], 24) == whole.generate(tokens[:20], 24)

        held = ranks.ask("weights")
        shares = [one / whole.weights() for one in held]
        print("share of the weights of each rank:", *(f"{share:.2f}" for share in shares))
        assert all(1 / size < share < 1 / size + 0.2 for share in shares)
    finally:
        ranks.close()


@pytest.mark.parametrize(("shape", "size"), [("v2-lite", 2), ("v2-lite", 4), ("v3", 4), ("fp8", 2)])
def test_the_parts_of_every_tensor_make_the_whole(folders: dict[str, Path], shape: str, size: int) -> None:
    whole = load_model(folders[shape], torch.float32, CPU, keep_fp8=True)
    shards = [Shard(rank, size) for rank in range(size)]
    parts = [named_tensors(load_model(folders[shape], torch.float32, CPU, True, shard=shard)) for shard in shards]
    for name, tensor in named_tensors(whole).items():
        covered = torch.zeros(tensor.shape, dtype=torch.int64)
        for shard, part in zip(shards, parts, strict=True):
            slices = shard.slices(name, tuple(tensor.shape), whole.config)
            assert (slices is None) == (name not in part)
            if slices is not None:
                assert torch.equal(part[name].float(), tensor[slices].float())
                covered[slices] += 1
        assert (covered == 1).all() or (covered == size).all()


def test_a_rank_reads_its_part_and_no_more(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    read = WeightFiles.read

    def noted(self: WeightFiles, name: str, part: tuple[slice, ...] | None = None) -> torch.Tensor:
        tensor = read(self, name, part)
        taken.append(tensor.numel() * tensor.element_size())
        return tensor

    monkeypatch.setattr(WeightFiles, "read", noted)
    load_model(folders["fp8"], torch.float32, CPU, keep_fp8=True)
    whole = sum(taken)
    told: list[tuple[int, int]] = []
    for rank in range(2):
        taken.clear()
        load_model(folders["fp8"], torch.float32, CPU, True, lambda *progress: told.append(progress), Shard(rank, 2))
        assert sum(taken) < 0.6 * whole
        assert told[-1] == (sum(taken), sum(taken))


def test_v2_lite_splits_at_blocks() -> None:
    parts = [Shard(rank, 2).inner(SHAPES["v2-lite"].intermediate_size) for rank in range(2)]
    assert parts == [slice(0, 5504), slice(5504, 10_944)]
    assert Shard(1, 2).inner(2 * 1408) == slice(1408, 2816)
    assert Shard(1, 2).inner(96) == slice(48, 96)


@pytest.mark.parametrize(("name", "sizes"), [("v2-lite", (2, 4, 8, 16)), ("v3", (2, 4, 8, 16))])
def test_published_shapes_split(name: str, sizes: tuple[int, ...]) -> None:
    for size in sizes:
        check_split(SHAPES[name], size)


@pytest.mark.parametrize(
    ("config", "size", "said"),
    [
        (SMALL["v2-lite"], 3, "num_attention_heads 4 does not divide"),
        (replace(SMALL["v2-lite"], n_routed_experts=7), 2, "n_routed_experts 7 does not divide"),
        (SHAPES["v3"], 128, "1 heads of qk_head_dim cut through FP8 blocks"),
        (SHAPES["v3"], 32, "the shared experts' width 2048 has fewer FP8 blocks than ranks"),
        (SHAPES["v3"], 0, "at least one"),
    ],
)
def test_what_cannot_be_split_is_refused_by_name(config: Config, size: int, said: str) -> None:
    with pytest.raises(CannotSplit, match=said) as refused:
        check_split(config, size)
    assert "Numbers of ranks that fit: 1" in refused.value.mend


def test_random_parts_agree_on_what_they_share() -> None:
    parts = [random_model(SMALL["v2-lite"], torch.float32, CPU, shard=Shard(rank, 2)) for rank in range(2)]
    first, second = map(named_tensors, parts)
    shared = [name for name in first if name in second and ("norm" in name or "gate.weight" in name or "embed" in name)]
    assert len(shared) == 3 * 3 + 2 + 1 + 1
    assert all(torch.equal(first[name], second[name]) for name in shared)
    assert sum(one.numel() for one in first.values()) == pytest.approx(
        sum(one.numel() for one in second.values()), rel=0.2
    )
    assert "model.layers.1.mlp.experts.4.up_proj.weight" in second
