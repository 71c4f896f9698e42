"""What the door of training shows of a stage of policy optimisation."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.train import _Watch
from app.train_card import write_card
from app.train_plot import draw_training

PARTS = {"f1": 0.5, "passage": 0.9, "form": 0.975, "refused_unanswerable": 0.8, "refused_answerable": 0.05}


def log(kept: bool) -> list[dict[str, Any]]:
    stages = [{"name": name, "data": data, "length": 64, "seconds": 0.0, "tokens": 512, "policy": {"questions": 8}}
              for name, data in (("words", "text"), ("trial", "policy"))]  # fmt: skip
    recipe = {"stages": stages, "seed": 1, "licence": "mit", "name": "Toy", "sources": []}
    step = {"event": "step", "tokens_per_second": 10, "muon_rate": 1e-3, "seconds": 2.0, "left": 61}
    read = step | {"stage": "words", "loss": 2.5, "draft_loss": None, "load": [0.1], "least": [0.9]}
    answered = {"event": "reward", "stage": "trial"} | PARTS
    end = {"event": "stage", "seconds": 5.0, "validation_nats_per_token": 3.0}
    return [
        {"event": "start", "recipe": recipe, "parameters": 10_000, "active": 5_000, "device": "cpu"},
        read | {"step": 2},
        end | {"stage": "words", "step": 4},
        answered | {"step": 0, "reward": 0.25},
        step | PARTS | {"stage": "trial", "step": 2, "reward": 0.375},
        answered | {"step": 3, "reward": 0.5},
        end | PARTS | {"stage": "trial", "step": 3, "reward": 0.5, "kept": kept, "gain": 0.25, "gain_error": 0.01},
    ]


def test_the_curve_of_rewards_is_drawn_where_there_is_one(tmp_path: Path) -> None:
    entries = log(kept=True)
    draw_training("toy", entries, tmp_path / "both.svg")
    drawn = (tmp_path / "both.svg").read_text("utf-8")
    assert "reward of an answer" in drawn and "held out, greedy" in drawn and "refused, wrongly" in drawn
    draw_training("toy", entries[:3], tmp_path / "words.svg")
    assert "reward of an answer" not in (tmp_path / "words.svg").read_text("utf-8")
    draw_training("toy", [one for one in entries if one.get("stage") != "words"], tmp_path / "trial.svg")
    assert "reward of an answer" in (tmp_path / "trial.svg").read_text("utf-8")


def test_progress_shows_rewards(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    watch = _Watch(lambda done, whole, line: told.append(line))
    for entry in log(kept=True)[1:]:
        watch(entry)
    assert told[0].startswith("words step 2: loss 2.500")
    assert told[1].startswith("trial step 2: reward 0.375") and told[1].endswith("1 min 01 s left")
    said = capsys.readouterr().err
    assert "trial step 0: held-out reward 0.250" in said and "kept 1" in said


@pytest.mark.parametrize(("kept", "said"), [(True, "in held-out reward; kept."), (False, "taken back")])
def test_the_card_tells_what_the_stage_won(tmp_path: Path, kept: bool, said: str) -> None:
    (tmp_path / "model").mkdir()
    dimensions = ("first_k_dense_replace", "num_hidden_layers", "hidden_size", "num_attention_heads", "q_lora_rank",
                  "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "n_routed_experts",
                  "num_experts_per_tok", "n_shared_experts", "moe_intermediate_size", "num_nextn_predict_layers",
                  "vocab_size", "max_position_embeddings")  # fmt: skip
    config = dict.fromkeys(dimensions, 1) | {"rope_scaling": None}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "evaluation.json").write_text("{}", encoding="utf-8")
    lines = "".join(json.dumps(entry) + "\n" for entry in log(kept))
    (tmp_path / "log.jsonl").write_text(lines, encoding="utf-8")
    card = write_card(tmp_path)
    assert said in card and "+0.2500 (standard error 0.0100)" in card
    assert "| before | 0.250 | 0.500 |" in card and "| after | 0.500 | 0.500 |" in card
    assert "| trial | 64 | 5 | 24 questions |" in card
