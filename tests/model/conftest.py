"""Small random checkpoints of every architecture, made by transformers, and a byte-level tokenizer."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported: kernels run on the CPU

os.environ.setdefault("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")  # the person's own is none of ours

VOCAB = 320

SMALL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "kv_lora_rank": 32,
    "q_lora_rank": 24,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 1.5,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "rope_scaling": {
        "type": "yarn",
        "factor": 16.0,
        "original_max_position_embeddings": 32,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    },
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """The suite runs on both cores already."""
    torch.set_num_threads(1)


CLASSES = {2: "DeepseekV2", 3: "DeepseekV3", 4: "Glm4MoeLite"}
"""Names in transformers, by a number that stands for the architecture."""


def reference_model(version: int, **changes: Any) -> Any:
    """A transformers model with random weights and biases whose logits have a standard deviation of at least 1."""
    import transformers

    name = CLASSES[version]
    config = {**copy.deepcopy(SMALL), **({"topk_method": "group_limited_greedy"} if version == 2 else {}), **changes}
    generator = torch.Generator().manual_seed(version)
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                parameter.normal_(0.0, 1.5 / parameter.shape[-1] ** 0.5, generator=generator)
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith("e_score_correction_bias"):
                buffer.normal_(0.0, 0.3, generator=generator)
    return model


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Any]]:
    """(version, **config changes) -> folder written by transformers, and the transformers model; made once each."""
    made: dict[str, tuple[Path, Any]] = {}

    def make(version: int, **changes: Any) -> tuple[Path, Any]:
        key = json.dumps([version, changes], sort_keys=True)
        if key not in made:
            model = reference_model(version, **changes)
            folder = tmp_path_factory.mktemp(f"v{version}")
            model.save_pretrained(folder)
            write_tokenizer(folder)
            made[key] = folder, model
        return made[key]

    return make


CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def write_tokenizer(folder: Path, template: str = CHAT_TEMPLATE) -> None:
    """A byte-level tokenizer without merges: ids 0-5 are special, every byte is one token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    special = ["<bos>", "<eos>", "<|system|>", "<|user|>", "<|assistant|>", "<pad>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"bos_token": "<bos>", "eos_token": {"content": "<eos>"}, "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(described), encoding="utf-8")


Fits = Callable[[Any, str], bool]


@pytest.fixture(scope="session")
def byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tokenizer of `write_tokenizer` alone."""
    from model.tokenizer import Tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return Tokenizer(folder)


@pytest.fixture(scope="session")
def fits(byte_tokenizer: Any) -> Fits:
    """(constraint, text) -> whether `text`, token by token, is an output that the constraint allows."""
    from model.constraints import compile_constraint

    def check(constraint: Any, text: str) -> bool:
        state = compile_constraint(constraint, byte_tokenizer, frozenset({1, 5}))
        assert state is not None
        for token in byte_tokenizer.encode(text):
            if not state.allowed()[token]:
                return False
            state.advance(token)
        ends = state.allowed()[[1, 5]].tolist()
        assert ends[0] == ends[1] and (ends[0] or not state.complete)
        return bool(ends[0])

    return check


@pytest.fixture
def checkpoint(make_checkpoint: Callable[..., tuple[Path, Any]]) -> Path:
    """A V3 checkpoint folder with a tokenizer; read only."""
    return make_checkpoint(3)[0]
