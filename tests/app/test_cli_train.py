"""`loci model train` and `loci model card`: a toy model from nothing, watched, drawn and described."""

import lzma
from pathlib import Path
from random import Random

import pytest

from model.train import invented
from model.train.corpus import SEPARATOR
from tests.app.cli_run import Run

RECIPE = """
name = "Toy"
seed = 2
log_every = 2
sample_every = 4
validation_tokens = 256
validation_length = 64

[model]
vocab_size = 400
hidden_size = 32
intermediate_size = 32
moe_intermediate_size = 16
num_hidden_layers = 2
num_attention_heads = 2
q_lora_rank = 16
kv_lora_rank = 16
qk_nope_head_dim = 8
qk_rope_head_dim = 4
v_head_dim = 8
n_routed_experts = 4
num_experts_per_tok = 2
norm_topk_prob = true
max_position_embeddings = 128
tie_word_embeddings = true
num_nextn_predict_layers = 1

[[stage]]
name = "one"
data = "text"
steps = 4
length = 64
tokens = 512
micro_tokens = 512

[[stage]]
name = "two"
data = "text"
steps = 2
length = 256
tokens = 512
micro_tokens = 512
needle_share = 0.5
yarn = { factor = 4.0, original_context = 64 }

[[source]]
name = "invented records"
terms = "public domain"
use = "text"
"""


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, Path]:
    """A recipe and a corpus."""
    random, corpus = Random(1), tmp_path / "corpus"
    corpus.mkdir()
    for name in ("00", "validation"):
        documents = [" ".join(invented.as_sentences(invented.records(random), random)) for _ in range(60)]
        (corpus / f"{name}.txt.xz").write_bytes(lzma.compress(SEPARATOR.join(documents).encode()))
    recipe = tmp_path / "toy.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    return recipe, corpus


def test_a_model_is_trained_watched_drawn_and_described(loci: Run, given: tuple[Path, Path], tmp_path: Path) -> None:
    recipe, corpus = given
    command = ("model", "train", recipe, "--corpus", corpus, "--out", tmp_path / "out", "--workers", 1)
    stopped = loci(*command, "--stop-after", 0)
    assert stopped.code == 4 and "goes on" in stopped.err
    ran = loci(*command, "--json")
    told = ran.json
    assert told["done"] and [stage["stage"] for stage in told["stages"]] == ["one", "two"]
    assert told["evaluation"]["text"]["bits_per_character"] > 0
    assert "one step 4: loss" in ran.err and " left" in ran.err and " -> " in ran.err
    drawn = (tmp_path / "out" / "training.svg").read_text("utf-8")
    assert drawn.startswith("<?xml") and "tokens per second" in drawn

    card = loci("model", "card", tmp_path / "out")
    assert card.out == (tmp_path / "out" / "model" / "README.md").read_text("utf-8")
    for words in ("# Toy", "license: apache-2.0", "256 tokens, YaRN, factor 4 over 64", "| two | 256 |", "seed 2"):
        assert words in card.out, words
    assert f"{told['evaluation']['text']['bits_per_character']:.3f} bits per character" in card.out
    assert "| invented records | public domain | text |" in card.out and "idlest receives" in card.out


def test_what_cannot_be_trained_or_described_is_said(loci: Run, given: tuple[Path, Path], tmp_path: Path) -> None:
    recipe, corpus = given
    nowhere = loci("model", "train", recipe, "--corpus", tmp_path / "none", "--out", tmp_path / "out")
    assert nowhere.code == 2 and "NN.txt.xz" in nowhere.err
    recipe.write_text(RECIPE.replace("seed = 2", "sede = 2"), encoding="utf-8")
    misspelt = loci("model", "train", recipe, "--corpus", corpus, "--out", tmp_path / "out")
    assert misspelt.code == 2 and "sede" in misspelt.err
    unfinished = loci("model", "card", tmp_path / "corpus")
    assert unfinished.code == 2 and "no finished training run" in unfinished.err
