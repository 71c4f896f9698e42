"""Writes a checkpoint of this architecture as a GGUF file that llama.cpp runs (`deepseek2`), in F32 or F16.

Predictors are written as `nextn` layers after the main ones, where llama.cpp leaves them out of ordinary passes.

Tensors are streamed one layer's worth at a time. Layout and keys follow llama.cpp's own loader, which pairs
neighbouring rotary dimensions: where a checkpoint pairs halves, its rows change places. Knows nothing about running
the file.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.config import Config, read_config
from model.errors import BadCheckpoint, MissingExtra, UnsupportedArchitecture, install_command
from model.files import read_object
from model.tokenizer import template_source

if TYPE_CHECKING:
    from gguf import GGUFWriter

Type = Literal["f32", "f16"]
Array = NDArray[Any]

_COMMON = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATTERNS: dict[str, tuple[str, ...]] = {
    "gpt-2": (),  # byte-level BPE's own pattern
    "llama-bpe": (_COMMON % "{1,3}",),
    "qwen2": (_COMMON % "",),
    "deepseek-v3": (
        r"\p{N}{1,3}",
        r"[一-龥぀-ゟ゠-ヿ]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}
"""llama.cpp's names of pre-tokenizers, with the patterns that a tokenizer.json of that kind splits by."""
_CASED = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿ"
_DEEPSEEK_LLM = (r"[\r\n]", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", r"[一-龥ࠀ-一가-퟿]+")
"""V2's, beside a class of all cased letters that begins with `_CASED`, and digits apart. That class is not compared to
its end: Unicode normalisation has changed three of its letters in some copies."""


def export(folder: Path, file: Path, type: Type = "f32", progress: Callable[[int, int], None] | None = None) -> None:
    """Convert the checkpoint in `folder` to `file`; `progress` receives (tensors written, tensors in all).

    :raises UnsupportedArchitecture: llama.cpp has no place for something the checkpoint has.
    :raises BadCheckpoint: files are missing, or the tokenizer is of no kind that llama.cpp knows.
    """
    try:
        from gguf import GGUFWriter
    except ImportError as error:
        raise MissingExtra("Writing GGUF needs the gguf package.", install_command("gguf")) from error
    from model.checkpoint import tensor_reader

    config = read_config(folder)
    if config.attention_bias:
        raise UnsupportedArchitecture("Attention biases have no place in llama.cpp's deepseek2.")
    if config.n_group > config.topk_group and not config.sigmoid_router:
        raise UnsupportedArchitecture(
            "llama.cpp scores expert groups as V3 does, by their two best; V2's groups, scored by the best, would "
            "route differently."
        )
    config, read = tensor_reader(folder, config)
    unfinished = file.with_name(file.name + ".part")
    writer = GGUFWriter(unfinished, "deepseek2")
    try:
        _write_config(writer, config, str(read_object(folder / "loci.json").get("name") or folder.name), type)
        _write_tokenizer(writer, folder, config)
        plan = list(gguf_tensors(config, type))
        for tensor in plan:
            writer.add_tensor_info(tensor.name, tensor.shape, tensor.dtype, tensor.bytes)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for index, tensor in enumerate(plan):
            array = np.ascontiguousarray(tensor.make(read), dtype=tensor.dtype)
            if array.shape != tensor.shape:
                raise BadCheckpoint(f"{folder}: {tensor.name} would be {array.shape}, not {tensor.shape}.")
            writer.write_tensor_data(array)
            if progress:
                progress(index + 1, len(plan))
        writer.close()
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


Read = Callable[[str], Array]
"""A tensor of the checkpoint by its published name, in float32."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[Read], Array]

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize


def _write_config(writer: "GGUFWriter", config: Config, name: str, type: Type) -> None:
    from gguf import ExpertGatingFuncType, LlamaFileType, RopeScalingType

    writer.add_name(name)
    writer.add_file_type(LlamaFileType.ALL_F32 if type == "f32" else LlamaFileType.MOSTLY_F16)
    writer.add_block_count(config.num_hidden_layers + config.num_nextn_predict_layers)
    if config.num_nextn_predict_layers:
        writer.add_nextn_predict_layers(config.num_nextn_predict_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_vocab_size(config.vocab_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(1)  # one latent for all heads
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    # llama.cpp tells V2-Lite by its depth; at other depths an absent rank must be written as 0.
    writer.add_q_lora_rank(config.q_lora_rank or 0)
    writer.add_kv_lora_rank(config.kv_lora_rank)
    writer.add_key_length(config.kv_lora_rank + config.qk_rope_head_dim)
    writer.add_value_length(config.kv_lora_rank)
    writer.add_key_length_mla(config.qk_head_dim)
    writer.add_value_length_mla(config.v_head_dim)
    writer.add_rope_dimension_count(config.qk_rope_head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    if config.yarn:
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(config.yarn.factor)
        writer.add_rope_scaling_orig_ctx_len(config.yarn.original_context)
        writer.add_rope_scaling_yarn_log_mul(0.1 * config.yarn.mscale_all_dim)
        writer.add_rope_scaling_yarn_beta_fast(config.yarn.beta_fast)
        writer.add_rope_scaling_yarn_beta_slow(config.yarn.beta_slow)
    writer.add_leading_dense_block_count(config.first_k_dense_replace)
    writer.add_expert_count(config.n_routed_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_shared_count(config.n_shared_experts)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_expert_weights_scale(config.routed_scaling_factor)
    writer.add_expert_weights_norm(config.norm_topk_prob)
    writer.add_expert_gating_func(
        ExpertGatingFuncType.SIGMOID if config.sigmoid_router else ExpertGatingFuncType.SOFTMAX
    )
    if config.n_group > config.topk_group:
        writer.add_expert_group_count(config.n_group)
        writer.add_expert_group_used_count(config.topk_group)


def _write_tokenizer(writer: "GGUFWriter", folder: Path, config: Config) -> None:
    """:raises BadCheckpoint: no tokenizer.json, or one that llama.cpp would split differently."""
    from gguf import TokenType

    file = folder / "tokenizer.json"
    values = read_object(file)
    if values.get("model", {}).get("type") != "BPE":
        raise BadCheckpoint(f"{file} is not a byte-level BPE tokenizer.", "Only those are converted.")
    tokens = [f"[PAD{index}]" for index in range(config.vocab_size)]
    types = [TokenType.UNUSED] * config.vocab_size
    for text, index in values["model"]["vocab"].items():
        tokens[index], types[index] = text, TokenType.NORMAL
    for added in values.get("added_tokens", []):
        index = added["id"]
        tokens[index] = added["content"]
        types[index] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in values["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_tokenizer(values, file))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    if config.bos_token_id is not None:
        writer.add_bos_token_id(config.bos_token_id)
    if config.eos_token_ids:
        writer.add_eos_token_id(config.eos_token_ids[0])
    settings = read_object(folder / "tokenizer_config.json")
    writer.add_add_bos_token(bool(settings.get("add_bos_token")))
    writer.add_add_eos_token(False)
    template = template_source(folder, settings)
    if template:
        writer.add_chat_template(template)


def _pre_tokenizer(values: dict[str, Any], file: Path) -> str:
    """llama.cpp's name for how tokenizer.json splits text before merging."""
    found = values.get("pre_tokenizer") or {}
    stages = found.get("pretokenizers", [found])
    patterns = tuple(stage["pattern"].get("Regex") for stage in stages if stage.get("type") == "Split")
    whole = any(stage.get("type") == "ByteLevel" and stage.get("use_regex", True) for stage in stages)
    for name, wanted in _PATTERNS.items():
        if patterns == wanted and whole == (not wanted):
            return name
    digits = any(stage.get("type") == "Digits" for stage in stages)
    if digits and (*patterns[:1], *patterns[2:]) == _DEEPSEEK_LLM and str(patterns[1]).startswith(_CASED):
        return "deepseek-llm"
    raise BadCheckpoint(
        f"{file} splits text in a way that no pre-tokenizer of llama.cpp is known here to match: {patterns}.",
        f"Known: {', '.join(_PATTERNS)}.",
    )


def gguf_tensors(config: Config, type: Type) -> Iterator[_Tensor]:
    """Every tensor of the file in order, with how it is made.

    D hidden, H heads, E experts, I expert width, R latent rank; llama.cpp's shapes are these reversed.
    """
    dim, heads, rank = config.hidden_size, config.num_attention_heads, config.kv_lora_rank
    nope, value = config.qk_nope_head_dim, config.v_head_dim
    matrix = np.dtype(np.float32 if type == "f32" else np.float16)
    full = np.dtype(np.float32)

    def plain(name: str, source: str, *shape: int) -> _Tensor:
        # Vectors and routers stay in F32, as llama.cpp expects.
        small = len(shape) == 1 or "ffn_gate_inp" in name
        return _Tensor(name, shape, full if small else matrix, lambda read: read(source))

    def rotated(name: str, source: str, parts: int, *shape: int) -> _Tensor:
        # Rows of `parts` heads, each of which ends with the rotary ones.
        if config.rope_interleave:
            return plain(name, source, *shape)
        width = config.qk_rope_head_dim
        return _Tensor(name, shape, matrix, lambda read: _paired(read(source), parts, width))

    yield plain("token_embd.weight", "model.embed_tokens.weight", config.vocab_size, dim)
    # Before the layers, so that what is mapped of the file ends before the predictors, which are not read.
    yield plain("output_norm.weight", "model.norm.weight", dim)
    if not config.tie_word_embeddings:
        yield plain("output.weight", "lm_head.weight", config.vocab_size, dim)
    for layer in range(config.num_hidden_layers + config.num_nextn_predict_layers):
        block, source = f"blk.{layer}", f"model.layers.{layer}"
        attention = f"{source}.self_attn"
        yield plain(f"{block}.attn_norm.weight", f"{source}.input_layernorm.weight", dim)
        if config.q_lora_rank is None:
            query = heads * config.qk_head_dim, dim
            yield rotated(f"{block}.attn_q.weight", f"{attention}.q_proj.weight", heads, *query)
        else:
            q_rank = config.q_lora_rank
            yield plain(f"{block}.attn_q_a.weight", f"{attention}.q_a_proj.weight", q_rank, dim)
            yield plain(f"{block}.attn_q_a_norm.weight", f"{attention}.q_a_layernorm.weight", q_rank)
            query = heads * config.qk_head_dim, q_rank
            yield rotated(f"{block}.attn_q_b.weight", f"{attention}.q_b_proj.weight", heads, *query)
        latents = f"{attention}.kv_a_proj_with_mqa.weight"
        yield rotated(f"{block}.attn_kv_a_mqa.weight", latents, 1, config.latent_dim, dim)
        yield plain(f"{block}.attn_kv_a_norm.weight", f"{attention}.kv_a_layernorm.weight", rank)

        parts = partial(_kv_b, name=f"{attention}.kv_b_proj.weight", shape=(heads, nope + value, rank))
        yield _Tensor(f"{block}.attn_k_b.weight", (heads, rank, nope), matrix, partial(_keys, parts, nope))
        yield _Tensor(f"{block}.attn_v_b.weight", (heads, value, rank), matrix, partial(_values, parts, nope))
        yield plain(f"{block}.attn_output.weight", f"{attention}.o_proj.weight", dim, heads * value)
        yield plain(f"{block}.ffn_norm.weight", f"{source}.post_attention_layernorm.weight", dim)
        if layer < config.first_k_dense_replace:
            yield from _mlp(plain, block, "", f"{source}.mlp", dim, config.intermediate_size)
            continue
        experts, inner = config.n_routed_experts, config.moe_intermediate_size
        yield plain(f"{block}.ffn_gate_inp.weight", f"{source}.mlp.gate.weight", experts, dim)
        if config.sigmoid_router:
            yield plain(f"{block}.exp_probs_b.bias", f"{source}.mlp.gate.e_score_correction_bias", experts)
        for which, shape in (("gate", (inner, dim)), ("up", (inner, dim)), ("down", (dim, inner))):
            names = [f"{source}.mlp.experts.{expert}.{which}_proj.weight" for expert in range(experts)]
            stacked = partial(_stack, names)
            yield _Tensor(f"{block}.ffn_{which}_exps.weight", (experts, *shape), matrix, stacked)
        if config.n_shared_experts:
            shared = f"{source}.mlp.shared_experts"
            yield from _mlp(plain, block, "_shexp", shared, dim, inner * config.n_shared_experts)
        if layer >= config.num_hidden_layers:  # a predictor: its block stands after the main ones
            yield plain(f"{block}.nextn.eh_proj.weight", f"{source}.eh_proj.weight", dim, 2 * dim)
            for name, norm in (("enorm", "enorm"), ("hnorm", "hnorm"), ("shared_head_norm", "shared_head.norm")):
                yield plain(f"{block}.nextn.{name}.weight", f"{source}.{norm}.weight", dim)


def _paired(weight: Array, parts: int, width: int) -> Array:
    """[parts * rows, columns] with the last `width` rows of each part in the order 0, width/2, 1, width/2 + 1, ..."""
    rows = weight.reshape(parts, -1, weight.shape[-1]).copy()
    halves = rows[:, -width:].reshape(parts, 2, width // 2, -1)  # [parts, half, frequency, columns]
    rows[:, -width:] = halves.transpose(0, 2, 1, 3).reshape(parts, width, -1)
    return rows.reshape(weight.shape)


def _kv_b(read: Read, name: str, shape: tuple[int, int, int]) -> Array:
    return read(name).reshape(shape)  # [H, nope + v, R]


def _keys(parts: Callable[[Read], Array], nope: int, read: Read) -> Array:
    return parts(read)[:, :nope].transpose(0, 2, 1)  # [H, R, nope]: llama.cpp absorbs it into the query


def _values(parts: Callable[[Read], Array], nope: int, read: Read) -> Array:
    return parts(read)[:, nope:]  # [H, v, R]


def _stack(names: list[str], read: Read) -> Array:
    return np.stack([read(name) for name in names])


def _mlp(
    plain: Callable[..., _Tensor], block: str, suffix: str, source: str, dim: int, inner: int
) -> Iterator[_Tensor]:
    yield plain(f"{block}.ffn_gate{suffix}.weight", f"{source}.gate_proj.weight", inner, dim)
    yield plain(f"{block}.ffn_up{suffix}.weight", f"{source}.up_proj.weight", inner, dim)
    yield plain(f"{block}.ffn_down{suffix}.weight", f"{source}.down_proj.weight", dim, inner)
