"""LoRA adapters against peft, merged as weights are read; and what is refused."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import fingerprint, load_model
from model.engine import Finished, Request, Sampling
from model.errors import BadCheckpoint, ModelError, UnsupportedAdapter
from model.lora import SETTINGS, WEIGHTS
from model.open import open_engine
from model.saving import save_model
from model.settings import ModelSettings
from model.shard import Shard
from model.tensors import named_tensors

CPU = torch.device("cpu")
Make = Callable[..., tuple[Path, Any]]
PREFIX = "base_model.model."
PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "init_lora_weights": True}


def write_adapter(folder: Path, factors: dict[str, tuple[torch.Tensor, torch.Tensor]], **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / SETTINGS).write_text(json.dumps(PLAIN | settings))
    tensors = {}
    for path, (a, b) in factors.items():
        tensors |= {f"{PREFIX}{path}.lora_A.weight": a.contiguous(), f"{PREFIX}{path}.lora_B.weight": b.contiguous()}
    save_file(tensors, folder / WEIGHTS)
    return folder


def factors(rows: int, columns: int, rank: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, columns, generator=generator), torch.randn(rows, rank, generator=generator)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """Changes one projection of attention and one of one expert."""
    return write_adapter(
        tmp_path / "adapter",
        {
            "model.layers.0.self_attn.o_proj": factors(64, 48),
            "model.layers.1.mlp.experts.3.up_proj": factors(32, 64, seed=1),
        },
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4, "lora_alpha": 6},
        {"r": 4, "lora_alpha": 6, "use_rslora": True},
        {"r": 4, "lora_alpha": 6, "rank_pattern": {"o_proj": 7}, "alpha_pattern": {"layers.1.self_attn.q_b_proj": 3}},
    ],
    ids=["plain", "rank-stabilised", "patterns"],
)
@torch.inference_mode()
def test_logits_are_those_of_peft(settings: dict[str, Any], make_checkpoint: Make, tmp_path: Path) -> None:
    import peft

    folder, reference = make_checkpoint(3)
    base = copy.deepcopy(reference)
    # For the architectures that it knows, peft takes the projections of dense MLPs for those of experts.
    base.config.model_type = "unknown"
    adapted = peft.get_peft_model(
        base,
        peft.LoraConfig(
            task_type="CAUSAL_LM",
            target_modules=["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
            + [f"{mlp}.{part}" for mlp in ("0.mlp", "shared_experts") for part in ("gate_proj", "down_proj")],
            target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
            **settings,
        ),
    ).eval()
    generator = torch.Generator().manual_seed(4)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.normal_(0.0, 0.1, generator=generator)
    adapted.save_pretrained(tmp_path)
    ids = torch.randint(0, 320, (2, 60), generator=generator)
    expected = adapted(ids).logits
    ours = load_model(folder, torch.float32, CPU, adapter=tmp_path)
    error = ((ours(ids) - expected).abs().max() / expected.std()).item()
    without = ((load_model(folder, torch.float32, CPU)(ids) - expected).abs().max() / expected.std()).item()
    print(f"largest difference {error:.1e} standard deviations, without the adapter {without:.1e}")
    assert error < 1e-3 < 0.1 < without


def test_an_adapter_changes_the_weights_that_it_names_and_no_others(checkpoint: Path, adapter: Path) -> None:
    plain = named_tensors(load_model(checkpoint, torch.float32, CPU))
    merged = named_tensors(load_model(checkpoint, torch.float32, CPU, adapter=adapter))
    added = {
        f"{name.removeprefix(PREFIX).removesuffix('.lora_A.weight')}.weight": 2.0
        * (load_file(adapter / WEIGHTS)[name.replace("lora_A", "lora_B")] @ a)
        for name, a in load_file(adapter / WEIGHTS).items()
        if "lora_A" in name
    }
    assert len(added) == 2
    for name, tensor in plain.items():
        if name in added:
            torch.testing.assert_close(merged[name], tensor + added[name])
        else:
            assert torch.equal(merged[name], tensor), name


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_merges_its_part(checkpoint: Path, adapter: Path, rank: int) -> None:
    whole = load_model(checkpoint, torch.float32, CPU, adapter=adapter)
    part = load_model(checkpoint, torch.float32, CPU, shard=Shard(rank, 2), adapter=adapter)
    for name, tensor in named_tensors(part).items():
        expected = named_tensors(whole)[name]
        own = part.shard.slices(name, tuple(expected.shape), whole.config)
        torch.testing.assert_close(tensor, expected[own])


def test_fp8_weights_that_an_adapter_changes_are_expanded(make_checkpoint: Make, adapter: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fp8"
    save_model(load_model(make_checkpoint(3)[0], torch.float32, CPU), folder, torch.bfloat16, fp8_block=(128, 128))
    kept = load_model(folder, torch.bfloat16, CPU, keep_fp8=True, adapter=adapter)
    types = {name: tensor.dtype for name, tensor in named_tensors(kept).items()}
    changed = {"model.layers.0.self_attn.o_proj.weight"}
    changed |= {name for name in types if name.startswith("model.layers.1.mlp.experts.")}  # one stack, one type
    for name, dtype in types.items():
        if name in changed:
            assert dtype == torch.bfloat16, name
        elif name.endswith("_proj.weight"):
            assert dtype == torch.float8_e4m3fn, name
    expanded = load_model(folder, torch.bfloat16, CPU, keep_fp8=False, adapter=adapter)
    for name in changed:
        assert torch.equal(named_tensors(kept)[name], named_tensors(expanded)[name])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"peft_type": "IA3"}, "peft_type = 'IA3'"),
        ({"bias": "all"}, "bias = 'all'"),
        ({"use_dora": True}, "use_dora = True"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save = \['lm_head'\]"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
        ({"fan_in_fan_out": True, "lora_bias": True}, "(?s)fan_in_fan_out.*lora_bias"),
        ({"invented_later": 3}, "invented_later = 3"),
    ],
)
def test_what_is_not_merged_is_refused_by_name(
    checkpoint: Path, tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    write_adapter(tmp_path, {"model.layers.0.self_attn.o_proj": factors(64, 48)}, **settings)
    with pytest.raises(UnsupportedAdapter, match=named):
        load_model(checkpoint, torch.float32, CPU, adapter=tmp_path)


@pytest.mark.parametrize("path", ["lm_head", "model.embed_tokens", "model.layers.1.mlp.gate", "model.layers.0.x"])
def test_other_targets_are_refused_by_name(checkpoint: Path, tmp_path: Path, path: str) -> None:
    write_adapter(tmp_path, {path: factors(320, 64), "model.layers.0.self_attn.o_proj": factors(64, 48)})
    with pytest.raises(UnsupportedAdapter, match=path):
        load_model(checkpoint, torch.float32, CPU, adapter=tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": math.nan}, {"lora_alpha": 10**400}, {"lora_alpha": "8"}, {"alpha_pattern": [1]},
        {"alpha_pattern": {"(": 5}}, {"alpha_pattern": {"o_proj": "x"}}, {"alpha_pattern": {"o_proj": math.inf}},
    ],
)  # fmt: skip
def test_an_alpha_that_is_no_number_is_refused(checkpoint: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    write_adapter(tmp_path, {"model.layers.0.self_attn.o_proj": factors(64, 48)}, **settings)
    with pytest.raises(BadCheckpoint, match=r"adapter_config\.json.*alpha"):
        load_model(checkpoint, torch.float32, CPU, adapter=tmp_path)


def test_factors_that_add_nothing_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    empty = torch.zeros(0, 48), torch.zeros(64, 0)
    whole = torch.ones(4, 48, dtype=torch.int8), torch.ones(64, 4, dtype=torch.int8)
    for pairs in ({"model.layers.0.self_attn.o_proj": empty}, {"model.layers.0.self_attn.o_proj": whole}, {}):
        write_adapter(tmp_path, pairs)
        with pytest.raises(BadCheckpoint, match=r"adapter_model\.safetensors"):
            load_model(checkpoint, torch.float32, CPU, adapter=tmp_path)


def test_an_adapter_of_another_model_is_told_from_a_damaged_one(checkpoint: Path, tmp_path: Path) -> None:
    wrong = {"model.layers.0.self_attn.o_proj": factors(64, 40), "model.layers.9.self_attn.o_proj": factors(64, 48)}
    write_adapter(tmp_path, wrong)
    with pytest.raises(BadCheckpoint, match=r"(?s)\[64, 48\], not \[64, 4\] times \[4, 40\].*no model\.layers\.9"):
        load_model(checkpoint, torch.float32, CPU, adapter=tmp_path)
    write_adapter(tmp_path, {"model.layers.1.mlp.experts": factors(64, 40, 32)})
    with pytest.raises(BadCheckpoint, match="none of its stacks"):
        load_model(checkpoint, torch.float32, CPU, adapter=tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    save_file({name: tensor for name, tensor in tensors.items() if "lora_A" in name}, tmp_path / WEIGHTS)
    with pytest.raises(BadCheckpoint, match="no lora_A and lora_B"):
        load_model(checkpoint, torch.float32, CPU, adapter=tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(BadCheckpoint, match=r"adapter_model\.safetensors"):
        load_model(checkpoint, torch.float32, CPU, adapter=tmp_path)
    with pytest.raises(BadCheckpoint, match=r"adapter_config\.json"):
        load_model(checkpoint, torch.float32, CPU, adapter=checkpoint)


def test_the_engine_takes_an_adapter_from_its_settings_and_is_another_model_with_it(
    checkpoint: Path, adapter: Path, tmp_path: Path
) -> None:
    ids = tuple(range(6, 40))
    prefix = tmp_path / "prefix"
    plain, adapted = (open_engine(str(checkpoint), ModelSettings(adapter=one)) for one in (None, str(adapter)))
    assert adapted.describe().name == f"{plain.describe().name} with adapter"
    texts = []
    for engine in (plain, adapted):
        events = list(engine.generate(Request(ids, Sampling(max_tokens=20))))
        assert isinstance(events[-1], Finished)
        texts.append([event for event in events if not isinstance(event, Finished)])
    assert texts[0] != texts[1]
    plain.save_prefix(ids, prefix)
    with pytest.raises(ModelError):
        adapted.load_prefix(prefix)
    before = fingerprint(checkpoint, adapter)
    assert before != fingerprint(checkpoint)
    (adapter / SETTINGS).write_text(json.dumps(PLAIN | {"lora_alpha": 9}))
    assert fingerprint(checkpoint, adapter) != before


def test_an_adapter_for_another_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="adapter"):
        open_engine("http://127.0.0.1:9/v1#name", ModelSettings(adapter=str(tmp_path)))
