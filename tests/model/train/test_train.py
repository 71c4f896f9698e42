"""Training: data, optimizer, loop. Everything at toy size, on text that the tests invent."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from model.checkpoint import load_model
from model.errors import BadRecipe
from model.spanformat import NOT_FOUND
from model.train import evaluate, invented, rephrase
from model.train.batches import Mixture, RowStream, TextStream
from model.train.corpus import load_packed
from model.train.evaluate import auroc
from model.train.export import export
from model.train.optimizer import AdamW, orthogonalize
from model.train.recipe import Stage, read_recipe
from model.train.row_files import Row, encode_rows, load_rows
from model.train.rows import Builder, _Gold, rows
from model.train.tokenizer import BEGIN_ID, END_ID
from model.train.trainer import Trainer, schedule
from tests.model.train.conftest import RECIPE, TEXT

pytestmark = pytest.mark.usefixtures("one_thread")


def losses(out: Path) -> list[float]:
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in entries if entry["event"] == "step"]


def test_the_loss_falls(data: Path, tmp_path: Path) -> None:
    stage = replace(TEXT, steps=40, row_share=0.0, muon_rate=2e-2, adam_rate=2e-2)
    trainer = Trainer(replace(RECIPE, stages=(stage,)), data, tmp_path, torch.device("cpu"))
    before = trainer.validate()["validation_nats_per_token"]
    trainer.run()
    assert trainer.validate()["validation_nats_per_token"] < before - 1.0
    assert losses(tmp_path)[-1] < losses(tmp_path)[0] - 1.0


def test_balancing_moves_tokens_to_idle_experts(data: Path, tmp_path: Path) -> None:
    stage = replace(TEXT, steps=60, row_share=0.0, bias_speed=0.02, warmup=0.0, decay=0.0)
    trainer = Trainer(replace(RECIPE, stages=(stage,), log_every=1), data, tmp_path, torch.device("cpu"))
    gate = trainer.model.model.layers[1].mlp.gate
    gate.e_score_correction_bias[0] = 1.0  # every token picks expert 0 until the bias is taken back
    trainer.run()
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    loads = [entry["load"][0] for entry in entries if entry["event"] == "step"]
    assert loads[0] == pytest.approx(1.0)  # 2 of 4 experts per token: the most is twice the mean
    assert np.mean(loads[-5:]) < 0.6


def test_orthogonalize_brings_singular_values_near_one() -> None:
    matrices = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrices))
    print(values.min(), values.max())
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_adamw_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(3, 4)) for _ in range(2))
    own = AdamW([("w", ours)])
    reference = torch.optim.AdamW([theirs], lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.3)
    for _ in range(4):
        ours.grad = torch.randn(3, 4)
        theirs.grad = ours.grad.clone()
        own.step(0.1, 0.3)
        reference.step()
    torch.testing.assert_close(ours, theirs)


def test_schedule_rises_holds_and_falls() -> None:
    stage = Stage("s", "text", steps=1, warmup=0.1, decay=0.5, floor=0.2)
    assert schedule(stage, 0.05) == pytest.approx(0.5)
    assert schedule(stage, 0.3) == 1.0
    assert schedule(stage, 0.75) == pytest.approx(0.6)
    assert schedule(stage, 1.0) == pytest.approx(0.2)


def test_text_windows_cover_an_epoch_once_and_targets_are_one_later(data: Path) -> None:
    parts = load_packed(data)
    stream = TextStream(parts, 32, 128, seed=5)
    batches = [stream.batch(position) for position in range(stream.per_epoch)]
    firsts = {tuple(row) for batch in batches for row in batch.inputs.tolist()}
    assert len(firsts) > 0.98 * 4 * stream.per_epoch  # a repeated window would be a repeated row
    for batch in batches[:5]:
        np.testing.assert_array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    np.testing.assert_array_equal(TextStream(parts, 32, 128, seed=5).batch(7).inputs, batches[7].inputs)


def test_rows_are_weighted_on_their_answers_only(data: Path, tokenizer: Path) -> None:
    text = TextStream(load_packed(data), 64, 512, seed=5)
    stream = RowStream(load_rows(data / "rows"), text, 512, seed=5)
    decoder = Tokenizer.from_file(str(tokenizer))
    for position in range(8):
        batch = stream.batch(position)
        for inputs, targets, weights in zip(batch.inputs, batch.targets, batch.weights, strict=True):
            answer = np.flatnonzero(weights == 1.0)
            assert inputs[0] == BEGIN_ID
            assert decoder.decode(inputs[1 : answer[0] + 1].tolist()).endswith("Answer:")
            assert decoder.decode(targets[answer].tolist()).startswith(" [")
            assert targets[answer[-1]] == END_ID
            assert (weights[: answer[0]] == 0).all()
            assert (weights[answer[-1] + 1 :] < 0.1).all()


def test_a_mixture_uses_every_batch_of_both_streams(data: Path) -> None:
    text = TextStream(load_packed(data), 64, 512, seed=5)
    rows_ = RowStream(load_rows(data / "rows"), text, 512, seed=5)
    mixed = [Mixture(text, rows_, 0.25).batch(position) for position in range(8)]
    of_rows = [batch for batch in mixed if (batch.weights == 0).any()]
    np.testing.assert_array_equal(of_rows[1].inputs, rows_.batch(1).inputs)
    of_text = [batch for batch in mixed if not (batch.weights == 0).any()]
    assert (len(of_rows), len(of_text)) == (2, 6)
    np.testing.assert_array_equal(of_text[5].inputs, text.batch(5).inputs)


def test_rows_hold_their_answer_or_refuse(corpus: Path) -> None:
    builder = Builder(corpus, corpus / "00.txt.xz")
    drawn = list(rows(builder, 1, 300))
    for row in drawn:
        assert 1 <= len(row.passages) <= 9
        if row.gold:
            assert row.span in row.passages[row.gold - 1]
        else:
            assert row.answer == NOT_FOUND
    refused = sum(not row.gold for row in drawn) / len(drawn)
    assert 0.25 < refused < 0.41
    assert drawn == list(rows(Builder(corpus, corpus / "00.txt.xz"), 1, 300))


def test_the_right_subject_alone_is_no_answer(corpus: Path) -> None:
    builder = Builder(corpus, corpus / "00.txt.xz")
    sentences = ["Ada lives in Bern.", "Ada was born in 1901.", "Ada keeps goats."]
    context = builder.real.add(sentences, "Ada")
    random, refused = Random(1), []
    for _ in range(400):
        gold = _Gold(sentences, 1, "1901")
        row = builder._assemble(builder.real, "When was Ada born?", context, gold, random)
        if row is not None and not row.gold:
            refused.append(" ".join(row.passages))
    assert not any("1901" in passages for passages in refused)
    beside = sum("Bern" in passages or "goats" in passages for passages in refused) / len(refused)
    assert 0.4 < beside < 0.8


def test_held_out_questions_are_never_trained_on(corpus: Path) -> None:
    train, held = (Builder(corpus, corpus / "00.txt.xz", held_out=flag).real for flag in (False, True))
    assert train.groups.keys() and held.groups.keys()
    assert not train.groups.keys() & held.groups.keys()


def test_questions_made_from_sentences() -> None:
    def made(sentence: str) -> list[tuple[str, str]]:
        drawn = (rephrase.make_question(sentence, "Neon", Random(seed)) for seed in range(60))
        return [one for one in drawn if one]

    assert {"1898", "Ramsay"} <= {answer for _, answer in made("The gas was discovered by Ramsay in 1898.")}
    assert any("Neon" in question for question, _ in made("It was discovered by Ramsay in 1898."))


def test_a_record_is_asked_for_by_cell() -> None:
    random = Random(4)
    table = invented.records(random)
    lines = invented.as_rows(table, random)
    assert all(key in line for key, line in zip(table.keys, lines, strict=True))
    for row in range(len(table.keys)):
        question, answer = invented.ask(table, row, 0, Random(2))
        assert answer in lines[row]
        assert table.keys[row] in question or answer == table.keys[row]


def test_the_tokenizer_splits_digits_and_loses_nothing(tokenizer: Path) -> None:
    trained = Tokenizer.from_file(str(tokenizer))
    text = "Fee: €1,234.50\n  naïve 漢字 🙂\t end  "
    ids = trained.encode(text, add_special_tokens=False).ids
    assert trained.decode(ids) == text
    assert trained.encode("1871", add_special_tokens=False).tokens == ["1", "8", "7", "1"]
    assert trained.encode("x").ids[0] == BEGIN_ID


def test_an_exported_model_opens_and_names_what_it_can_do(data: Path, tokenizer: Path, tmp_path: Path) -> None:
    trainer = Trainer(RECIPE, data, tmp_path / "run", torch.device("cpu"))
    export(trainer.model, tokenizer, tmp_path / "model")
    opened = load_model(tmp_path / "model", torch.float32, torch.device("cpu"))
    ids = torch.arange(40)[None]
    trained, shipped = trainer.model(ids), opened(ids)
    assert 0 < float((trained - shipped).detach().std() / trained.detach().std()) < 0.1  # FP8 costs a little
    assert json.loads((tmp_path / "model" / "loci.json").read_text())["pre_tokenizer"] == "qwen2"


def test_recipes_with_unknown_keys_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text("sede = 1\n[model]\n", encoding="utf-8")
    with pytest.raises(BadRecipe, match="sede"):
        read_recipe(file)
    file.write_text('[model]\n[[stage]]\nname = "a"\ndata = "text"\n', encoding="utf-8")
    with pytest.raises(BadRecipe, match="steps or seconds"):
        read_recipe(file)


def test_auroc_counts_ordered_pairs() -> None:
    assert auroc([2.0, 3.0], [1.0, 0.0]) == 1.0
    assert auroc([1.0, 1.0], [1.0, 1.0]) == 0.5
    assert auroc([3.0, 1.0], [2.0, 0.0]) == 0.75


def test_rows_too_long_to_be_trained_on_are_not_measured(data: Path, tokenizer: Path, tmp_path: Path) -> None:
    model = Trainer(RECIPE, data, tmp_path, torch.device("cpu")).model
    short, long = (Row("When?", ("It opened in 1871. " * often,), 1, "1871") for often in (1, 400))
    assert len(encode_rows([long], tokenizer)[1]) == 0
    assert evaluate._measure(model, [short, long], tokenizer)["rows"] == 1


def test_kinds_of_rows_have_names_beside_that_of_held_out_text(
    data: Path, corpus: Path, tokenizer: Path, tmp_path: Path
) -> None:
    model = Trainer(RECIPE, data, tmp_path, torch.device("cpu")).model
    measured = evaluate.evaluate_rows(model, corpus, tokenizer, 6)
    assert set(measured) == {"real questions", "made from sentences", "invented records"}  # run.py adds "text"


def test_a_stage_is_told_apart_by_the_held_out_answers_it_gives_word_for_word(tmp_path: Path) -> None:
    """Three rows a part; the stand-in for a model knows all answers but those that end with token 9."""
    for part, ends in enumerate(((7, 7, 7), (7, 9, 7), (9, 9, 9))):
        tokens = [[1, 2, 3, 4, 5, end] for end in ends]
        np.array(tokens, np.uint16).tofile(tmp_path / f"{part}.tokens")
        np.save(tmp_path / f"{part}.index.npy", np.array([(6 * n, 6 * n + 3, 6 * n + 6) for n in range(3)]))

    class Known:
        def parameters(self) -> Iterator[torch.Tensor]:
            yield torch.zeros(1)

        def hidden(self, ids: torch.Tensor) -> tuple[torch.Tensor, None]:
            following = torch.cat([ids[0, 1:], torch.tensor([7])])
            return F.one_hot(following, 10).float()[None], None

        def logits(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden

    found = evaluate.evaluate_answers(Known(), tmp_path)  # type: ignore[arg-type]  # it acts as one
    assert found == {"held_out_real": 1.0, "held_out_text": 0.6667, "held_out_invented": 0.0}
    assert evaluate.evaluate_answers(Known(), tmp_path, 1)["held_out_text"] == 1.0  # type: ignore[arg-type]
