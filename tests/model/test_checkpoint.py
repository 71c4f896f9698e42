"""Checkpoints: what is refused and how, sharding, FP8 round trips, and transformers reading what we write."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import fingerprint, load_model
from model.config import from_json, read_config
from model.deepseek import DeepseekForCausalLM
from model.engine import Message
from model.errors import BadCheckpoint, UnsupportedArchitecture
from model.fp8 import dequantize, quantize
from model.placement import end_tokens
from model.saving import save_model
from model.tensors import named_tensors
from model.tokenizer import Tokenizer

CPU = torch.device("cpu")
Make = Callable[..., tuple[Path, Any]]


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that a test may damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "llama"}, "llama"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"index_topk": 2048}, "index_topk"),
        ({"scoring_func": "softmax"}, "scoring_func"),
        ({"topk_method": "greedy"}, "topk_method"),
        ({"moe_layer_freq": 2}, "moe_layer_freq"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "linear"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "original_max_position_embeddings"),
        ({"quantization_config": {"quant_method": "awq"}}, "awq"),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 64]}}, "weight_block_size"),
    ],
)
def test_what_the_engine_does_not_implement_is_refused_by_name_before_weights_are_read(
    folder: Path, changes: dict[str, Any], named: str
) -> None:
    change_config(folder, **changes)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UnsupportedArchitecture, match=named):
        load_model(folder, torch.float32, CPU)


@pytest.mark.parametrize("text", ["", "[]", '{"a":', "[" * 100_000, '{"a":' * 100_000])
def test_a_config_that_is_no_object_is_named(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(BadCheckpoint, match=r"model/config\.json"):
        read_config(folder)


def test_end_tokens_that_are_none_are_left_out(folder: Path) -> None:
    change_config(folder, eos_token_id=[1, -1, "x", [], 10**30])
    (folder / "generation_config.json").write_text('{"eos_token_id": [[], 5, -7]}')
    assert end_tokens(folder, read_config(folder), Tokenizer(folder)) == {1, 5}


def test_several_unsupported_features_come_in_one_error(folder: Path) -> None:
    change_config(folder, hidden_act="gelu", sliding_window=128)
    with pytest.raises(UnsupportedArchitecture, match=r"(?s)hidden_act.*sliding_window"):
        read_config(folder)


def test_missing_unexpected_and_misshapen_tensors_come_in_one_error(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    tensors["model.layers.0.self_attn.o_proj.weight"] = torch.zeros(3, 3)
    tensors["model.layers.0.surprise"] = torch.zeros(2)
    tensors["lm_head.weight"] = torch.zeros(320, 64, dtype=torch.int8)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(BadCheckpoint) as caught:
        load_model(folder, torch.float32, CPU)
    for words in (
        "norm.weight is missing",
        "[3, 3], not [64, 48]",
        "surprise is unexpected",
        "lm_head.weight is of type I8",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_more_than_one_shard_is_in_memory_beside_the_model(
    checkpoint: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    config = replace(read_config(checkpoint), hidden_size=1024, moe_intermediate_size=512, num_nextn_predict_layers=0)
    model = DeepseekForCausalLM(config)
    model.init_weights()
    save_model(model, tmp_path, torch.float32, shard_bytes=8 << 20)
    shards = [file.stat().st_size for file in tmp_path.glob("*.safetensors")]
    assert len(shards) > 10 and max(shards) < 9 << 20
    del model
    process, before, extra = psutil.Process(), 0, []

    def watch(done: int, total: int) -> None:
        nonlocal before
        # What is mapped from files counts as resident, as what was copied from them does.
        resident = process.memory_info().rss - done * dtype.itemsize // 4
        before = before or resident
        extra.append(resident - before)

    load_model(tmp_path, dtype, CPU, progress=watch)
    print(
        f"{sum(shards) / 2**20:.0f} MiB in {len(shards)} shards: at most {max(extra) / 2**20:.1f} MiB beside the model"
    )
    assert max(extra) < 16 << 20


def test_a_truncated_file_is_named(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors"):
        load_model(folder, torch.float32, CPU)


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadCheckpoint, match="model-00002-of-00002"):
        load_model(folder, torch.float32, CPU)


def test_an_index_cannot_name_files_outside_its_folder(folder: Path) -> None:
    index = {"weight_map": {"lm_head.weight": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadCheckpoint, match="of its folder"):
        load_model(folder, torch.float32, CPU)


@pytest.mark.parametrize("names", [5, None, ["a"], "", "..", "a" * 5000, "\0.safetensors", "x" * 300 + ".safetensors"])
def test_an_index_that_names_no_files_is_refused(folder: Path, names: Any) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": names}}))
    with pytest.raises(BadCheckpoint, match=re.escape(str(folder))):
        load_model(folder, torch.float32, CPU)


def test_a_tensor_in_two_files_is_refused_with_both(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    file.unlink()
    save_file(tensors, folder / "a.safetensors")
    save_file({"lm_head.weight": tensors["lm_head.weight"] * 2}, folder / "b.safetensors")
    index = dict.fromkeys(tensors, "a.safetensors") | {"model.norm.weight": "b.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    with pytest.raises(BadCheckpoint, match=r"lm_head\.weight is in .*a\.safetensors and in .*b\.safetensors"):
        load_model(folder, torch.float32, CPU)


def test_weights_survive_sharding_exactly(checkpoint: Path, tmp_path: Path) -> None:
    model = load_model(checkpoint, torch.float32, CPU)
    save_model(model, tmp_path, torch.float32, shard_bytes=100_000)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    again = load_model(tmp_path, torch.float32, CPU)
    for name, tensor in named_tensors(model).items():
        assert torch.equal(tensor, named_tensors(again)[name]), name


def test_predictors_that_the_files_lack_are_done_without(folder: Path) -> None:
    assert read_config(folder).num_nextn_predict_layers == 1
    model = load_model(folder, torch.float32, CPU)
    assert model.config.num_nextn_predict_layers == len(model.mtp) == 0


def test_predictors_that_the_files_have_in_part_are_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.3.eh_proj.weight"] = torch.zeros(64, 128)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(BadCheckpoint, match=r"model\.layers\.3\.enorm\.weight is missing"):
        load_model(folder, torch.float32, CPU)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_transformers_reads_what_we_write(version: int, make_checkpoint: Make, tmp_path: Path) -> None:
    import transformers

    changes = {"n_group": 1, "topk_group": 1, "mlp_layer_types": ["dense", "sparse", "sparse"]} if version == 4 else {}
    ours = load_model(make_checkpoint(version, **changes)[0], torch.float32, CPU)
    save_model(ours, tmp_path, torch.float32)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = torch.randint(0, 320, (1, 40), generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        expected, got = theirs(ids).logits, ours(ids)
    assert (got - expected).abs().max() < 1e-3 * expected.std()


def test_a_configuration_survives_its_json(make_checkpoint: Make) -> None:
    for version in (2, 3):
        config = read_config(make_checkpoint(version)[0])
        assert from_json(config.to_json()) == config
        fp8 = replace(config, fp8_block=(128, 128), fp8_power_of_two_scales=True)
        assert from_json(fp8.to_json()) == fp8


@pytest.mark.parametrize("power_of_two", [False, True])
def test_fp8_blocks_round_trip_within_the_format(power_of_two: bool) -> None:
    weight = torch.randn(300, 130, generator=torch.Generator().manual_seed(6)) * torch.logspace(-3, 3, 130)
    weight[:128, :128] = 0.0  # a block of zeros
    values, scales = quantize(weight, (128, 128), power_of_two)
    assert scales.shape == (3, 2)
    back = dequantize(values, scales, (128, 128), torch.float32)
    # e4m3 keeps 3 mantissa bits: half a step is 1/16 of a value, and subnormals lie 2^-9 apart.
    bound = weight.abs() / 16 + scales.max() * 2**-10
    assert ((back - weight).abs() <= bound).all()
    assert (back[:128, :128] == 0).all()
    if power_of_two:
        assert torch.equal(scales.log2(), scales.log2().round())


def test_an_fp8_checkpoint_is_read_as_its_dequantised_weights(make_checkpoint: Make, tmp_path: Path) -> None:
    # Widths over one block and with partial blocks: kv_a has 136 + 8 rows.
    folder, _ = make_checkpoint(3, kv_lora_rank=136, moe_intermediate_size=144, num_hidden_layers=2)
    model = load_model(folder, torch.float32, CPU)
    save_model(model, tmp_path, torch.float32, fp8_block=(128, 128))
    stored = load_file(tmp_path / "model.safetensors")
    scales = {name for name in stored if name.endswith("_scale_inv")}
    assert stored["model.layers.0.self_attn.kv_a_proj_with_mqa.weight_scale_inv"].shape == (2, 1)
    for plain in ("embed_tokens", "norm", "lm_head", "mlp.gate."):
        assert not any(plain in name for name in scales)
    again = named_tensors(load_model(tmp_path, torch.float32, CPU))
    for name, tensor in named_tensors(model).items():
        if f"{name}_scale_inv" in scales:
            values = stored[name].float()
            rows, columns = (torch.arange(n) // 128 for n in values.shape)
            assert torch.equal(again[name], values * stored[f"{name}_scale_inv"][rows][:, columns])
            assert (again[name] - tensor).abs().max() < 0.07 * tensor.abs().max()
        else:
            assert torch.equal(again[name], tensor)
    narrow = named_tensors(load_model(tmp_path, torch.bfloat16, CPU))
    assert narrow["lm_head.weight"].dtype == torch.bfloat16
    name = "model.layers.1.mlp.experts.0.down_proj.weight"
    assert torch.equal(narrow[name], again[name].bfloat16())


def test_a_vocabulary_in_a_format_that_is_not_read_is_named(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "tiktoken.model")
    with pytest.raises(BadCheckpoint, match=r"(?s)tiktoken\.model.*TikTokenConverter"):
        Tokenizer(folder)


TEMPLATES = ["{{ 1 / 0 }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ 2.0 ** 100000 }}",
             "{{ '{:d}'.format('x') }}", "{% for i in range(1000000) %}{% endfor %}", "{% if %}"]  # fmt: skip


@pytest.mark.parametrize("source", TEMPLATES)
def test_a_chat_template_that_fails_is_named_with_its_folder(folder: Path, source: str) -> None:
    (folder / "chat_template.jinja").write_text(source)
    with pytest.raises(BadCheckpoint, match=re.escape(str(folder))):
        Tokenizer(folder).render([Message("user", "Hello")])


def test_a_chat_template_that_is_no_text_is_named(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe{{")
    with pytest.raises(BadCheckpoint, match=r"chat_template\.jinja"):
        Tokenizer(folder)


def test_a_vocabulary_that_is_empty_or_lacks_a_text_is_named(folder: Path) -> None:
    file = folder / "tokenizer.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"model": values["model"] | {"vocab": {}}, "added_tokens": []}))
    with pytest.raises(BadCheckpoint, match=r"tokenizer\.json has no tokens"):
        Tokenizer(folder)
    file.write_text(json.dumps(values | {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "?"}}))
    with pytest.raises(BadCheckpoint, match=r"tokenizer\.json cannot encode"):
        Tokenizer(folder).encode("b")


def test_half_a_surrogate_pair_counts_as_a_replacement_character(folder: Path) -> None:
    tokenizer = Tokenizer(folder)
    assert tokenizer.encode("a\ud800b") == tokenizer.encode("a\ufffdb")


def test_a_text_that_was_just_encoded_is_not_encoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, fresh = Tokenizer(folder), Tokenizer(folder)
    first = tokenizer.encode("the ferry")
    first.append(0)  # the caller's own: it changes nothing that is kept
    with monkeypatch.context() as without:
        without.setattr(tokenizer, "_inner", None)
        assert tokenizer.encode("the ferry") == fresh.encode("the ferry")
    assert tokenizer.encode("the quay") == fresh.encode("the quay")
    assert tokenizer.encode("") == []


def test_missing_fp8_scales_are_named(checkpoint: Path, tmp_path: Path) -> None:
    save_model(load_model(checkpoint, torch.float32, CPU), tmp_path, fp8_block=(128, 128))
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight_scale_inv"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(BadCheckpoint, match=r"up_proj\.weight_scale_inv is missing"):
        load_model(tmp_path, torch.float32, CPU)


def test_fingerprints_tell_models_apart(folder: Path, checkpoint: Path) -> None:
    assert fingerprint(folder) == fingerprint(checkpoint)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1e-3 for name, tensor in tensors.items()}, folder / "model.safetensors")
    assert fingerprint(folder) != fingerprint(checkpoint)


def test_fresh_weights_are_deterministic_and_of_the_configured_spread(checkpoint: Path) -> None:
    models = []
    for _ in range(2):
        model = DeepseekForCausalLM(read_config(checkpoint))
        model.init_weights(torch.Generator().manual_seed(0))
        models.append(named_tensors(model))
    for name, tensor in models[0].items():
        assert torch.equal(tensor, models[1][name]), name
    assert abs(models[0]["lm_head.weight"].std().item() - 0.02) < 0.001
