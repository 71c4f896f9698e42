"""What the tests of training share: a toy recipe, and text, questions and a tokenizer that they invent."""

import json
import lzma
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from model.train import invented
from model.train.corpus import SEPARATOR, pack
from model.train.recipe import Recipe, Stage
from model.train.row_files import encode_rows
from model.train.rows import Builder, rows
from model.train.tokenizer import train_tokenizer

MODEL = {
    "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "moe_intermediate_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4,
    "v_head_dim": 8, "n_routed_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True,
    "max_position_embeddings": 2048, "tie_word_embeddings": True, "initializer_range": 0.1,
    "num_nextn_predict_layers": 1,
}  # fmt: skip
TEXT = Stage("text", "text", steps=6, length=64, tokens=512, micro_tokens=256, row_share=0.25, warmup=0.0)
ROWS = Stage("rows", "rows", steps=4, length=64, tokens=512, micro_tokens=512)
RECIPE = Recipe(
    model=MODEL, stages=(TEXT, ROWS), validation_tokens=256, validation_length=64, log_every=2, checkpoint_every=4
)


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts of invented records told as prose, a validation text, and questions in 80 groups."""
    folder = tmp_path_factory.mktemp("corpus")
    random = Random(1)

    def document() -> str:
        lines = (" ".join(invented.as_sentences(invented.records(random), random)) for _ in range(3))
        return f"{invented.name(random)}\n" + "\n".join(lines)

    for name, count in (("00", 60), ("01", 60), ("validation", 10)):
        text = SEPARATOR.join(document() for _ in range(count))
        (folder / f"{name}.txt.xz").write_bytes(lzma.compress(text.encode()))
    lines = []
    for number in range(400):
        table = invented.records(random)
        context = " ".join(" ".join(invented.as_sentences(table, random)).split())
        question, answer = invented.ask(table, 0, 0, random)
        start = context.find(answer)
        if start >= 0:
            row = {"source": "uwnlp/qamr", "group": str(number % 80), "context": context, "question": question}
            lines.append(json.dumps(row | {"start": start, "end": start + len(answer), "answer": answer}))
    (folder / "questions.jsonl.xz").write_bytes(lzma.compress("\n".join(lines).encode()))
    return folder


@pytest.fixture(scope="session")
def tokenizer(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    texts = lzma.decompress((corpus / "00.txt.xz").read_bytes()).decode()
    train_tokenizer([texts], 512).save(str(file))
    return file


@pytest.fixture(scope="session")
def data(corpus: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    pack(corpus, tokenizer, folder)
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    (folder / "rows").mkdir()
    builder = Builder(corpus, corpus / "00.txt.xz")
    tokens, index = encode_rows([row for row in rows(builder, 3, 60) if len(row.prompt) < 800], tokenizer)
    tokens.tofile(folder / "rows" / "0.tokens")
    np.save(folder / "rows" / "0.index.npy", index)
    return folder
