"""Policy optimisation as a stage: a toy model learns a toy task by trial, and is kept only if it wins.

The task has a dozen words, each a token: passages name things, the question asks for a hot or a cold one.
"""

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models

from model.errors import BadRecipe
from model.spanformat import BEGIN, one_line
from model.train import policy_stage
from model.train.group import Group
from model.train.policy_stage import PolicyStage
from model.train.prepare import RowsBuilding
from model.train.questions import Questions, read_row
from model.train.recipe import Policy, Recipe, Stage, read_recipe
from model.train.rewards import RewardWeights
from model.train.row_files import encode_rows, load_rows
from model.train.rows import FRESH, HELD_OUT, Builder, rows, write_held_out
from model.train.streams import open_questions
from model.train.tokenizer import BEGIN_ID, END, END_ID, PAD
from model.train.trainer import Trainer
from tests.model.train.conftest import MODEL

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = [
    BEGIN, END, PAD, "Question: Hot?\n", "Question: Cold?\n", "[1] ", "[2] ", "fire\n", "ice\n", "sand\n", "Answer:",
    " [1] ", " [2] ", " [0] ", "not found\n",
]  # fmt: skip
POLICY = Policy(
    questions=16, group=16, updates=2, answer_tokens=3, kl_weight=0.05, measure_every=16, fresh=False,
    rewards=RewardWeights(refusal=0.3),
)  # fmt: skip
STAGE = Stage(
    "policy", "policy", steps=32, length=64, micro_tokens=2048, policy=POLICY, muon_rate=6e-3, adam_rate=6e-3,
    weight_decay=0.0, warmup=0.0, decay=0.3,
)  # fmt: skip
RECIPE = Recipe(
    MODEL | {"vocab_size": len(WORDS)}, (STAGE,), seed=1, validation_tokens=64, validation_length=32, log_every=8,
    checkpoint_every=1000,
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run prepares, of the toy task; a third of the questions have no answer."""
    folder = tmp_path_factory.mktemp("world")
    coder = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=PAD))
    coder.decoder = decoders.Fuse()
    coder.save(str(folder / "tokenizer.json"))
    random = Random(1)
    for name in ("00.u16", "validation.u16"):
        np.array(random.choices(range(3, len(WORDS)), k=400), np.uint16).tofile(folder / name)

    def write(folder: Path, number: int, count: int) -> None:
        folder.mkdir(exist_ok=True)
        tokens: list[int] = []
        index = []
        for _ in range(count):
            things, asked = random.sample(("fire\n", "ice\n", "sand\n"), 2), random.choice((3, 4))
            wanted = "fire\n" if asked == 3 else "ice\n"
            answer = [f" [{things.index(wanted) + 1}] ", wanted] if wanted in things else [" [0] ", "not found\n"]
            words = [WORDS[asked], "[1] ", things[0], "[2] ", things[1], WORDS[asked], "Answer:"]
            start, prompt = len(tokens), [BEGIN_ID, *(WORDS.index(word) for word in words)]
            tokens += [*prompt, *(WORDS.index(word) for word in answer), END_ID]
            index.append((start, start + len(prompt), len(tokens)))
        np.array(tokens, np.uint16).tofile(folder / f"{number}.tokens")
        np.save(folder / f"{number}.index.npy", np.array(index, np.int64))

    write(folder / "rows", 0, 300)
    for number, count in enumerate((30, 20, 10)):
        write(folder / "rows" / HELD_OUT, number, count)
    return folder


def train(world: Path, out: Path, recipe: Recipe = RECIPE) -> Trainer:
    trainer = Trainer(recipe, world, out, torch.device("cpu"))
    trainer.run()
    return trainer


def entries(out: Path, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [one for one in found if one["event"] == event]


def test_the_reward_rises_and_the_weights_are_kept(world: Path, tmp_path: Path) -> None:
    train(world, tmp_path)
    curve = {one["step"]: one["reward"] for one in entries(tmp_path, "reward")}
    (end,) = entries(tmp_path, "stage")
    print(curve, end, [one["reward"] for one in entries(tmp_path, "step")])
    assert list(curve) == [0, 16, 32]
    assert curve[32] > curve[0] + 0.4
    assert end["kept"] and (end["reward_before"], end["reward"]) == (curve[0], curve[32])
    assert end["passage"] > 0.15  # and not by refusing alone


def test_what_does_not_win_is_taken_back(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = replace(STAGE, steps=3)
    recipe = replace(RECIPE, stages=(stage,), log_every=1)
    monkeypatch.setattr(policy_stage, "advantages", lambda rewards, scaled: rewards.mean(-1, keepdim=True) - rewards)
    begun = Trainer(recipe, world, tmp_path, torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in begun.model.state_dict().items()}
    begun.run()
    (end,) = entries(tmp_path, "stage")
    assert not end["kept"] and end["gain"] <= 0
    assert any(one["norm"] > 0 for one in entries(tmp_path, "step"))  # it did learn something
    for name, tensor in begun.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_killed_stage_goes_on_to_the_same_bits(world: Path, tmp_path: Path, killed_after: int) -> None:
    recipe = replace(RECIPE, stages=(replace(STAGE, steps=4),), log_every=1, checkpoint_every=1)
    recipe = replace(recipe, stages=(replace(recipe.stages[0], policy=replace(POLICY, measure_every=2)),))
    whole = train(world, tmp_path / "whole", recipe)

    class Killed(Exception):
        pass

    first = Trainer(recipe, world, tmp_path / "cut", torch.device("cpu"))
    save, saved = first.save, 0

    def saving() -> None:
        nonlocal saved
        save()
        saved += 1
        if saved == killed_after:
            raise Killed

    first.save = saving  # type: ignore[method-assign]
    with pytest.raises(Killed):
        first.run()
    second = train(world, tmp_path / "cut", recipe)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    clock = {"seconds", "left", "tokens_per_second"}
    for event in ("step", "reward", "stage"):
        logs = [[{k: v for k, v in one.items() if k not in clock} for one in entries(out, event)]
                for out in (tmp_path / "whole", tmp_path / "cut")]  # fmt: skip
        assert logs[0] == logs[1]


def open_stage(world: Path, group: Group | None = None, **changed: object) -> PolicyStage:
    """A stage before its first round."""
    stage = replace(STAGE, weight_decay=0.1, policy=replace(POLICY, **changed))  # type: ignore[arg-type]
    trainer = Trainer(RECIPE, world, world / "unused", torch.device("cpu"))
    questions, held_out = open_questions(replace(RECIPE, stages=(stage,)), 0, world, lambda: None)
    return PolicyStage(trainer.model, stage, questions, held_out, 5, group)


def test_predictors_and_selection_biases_stay(world: Path) -> None:
    begun = open_stage(world)
    before = {name: tensor.clone() for name, tensor in begun.model.state_dict().items()}
    assert begun.step(0, 1.0) > 0
    for name, tensor in begun.model.state_dict().items():
        stays = name.startswith("mtp.") or "correction_bias" in name
        assert torch.equal(tensor, before[name]) == stays, name


def test_every_round_draws_anew_and_a_repeated_one_the_same(world: Path) -> None:
    stage = open_stage(world)
    drawn = [stage._sample(stage.held_out, number) for number in (0, 1, 0)]
    assert drawn[0] == drawn[2] != drawn[1]


def test_groups_that_are_all_alike_change_nothing(world: Path) -> None:
    stage = open_stage(world, rewards=RewardWeights(0.0, 0.0, 0.0, 0.0))
    before = {name: tensor.clone() for name, tensor in stage.model.state_dict().items()}
    assert stage.step(0, 1.0) == 0.0
    assert stage.entry()["telling"] == 0.0
    for name, tensor in stage.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_only_later_updates_of_a_round_leave_the_policy_that_sampled(world: Path) -> None:
    for updates, moved in ((1, False), (4, True)):
        stage = open_stage(world, questions=64, updates=updates, clip=0.01)
        stage.step(0, 1.0)
        assert (stage.entry()["clipped"] > 0) == moved


def test_processes_share_a_round(world: Path) -> None:
    class Alone(Group):
        """Adds nothing, since the other process is not there."""

        def add(self, tensor: torch.Tensor) -> torch.Tensor:
            return tensor

        def add_gradients(self, parameters: object) -> None:
            pass

    asked = []
    for group in (Alone(0, 2), Alone(1, 2), Group()):
        stage = open_stage(world, group)
        stage.step(3, 1.0)
        asked.append([tuple(one.prompt) for one in stage._since.asked])
    assert (asked[0], asked[1]) == (asked[2][0::2], asked[2][1::2])


def test_questions_are_read_back_as_they_were_built(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    drawn = [row for row in rows(Builder(corpus, corpus / "00.txt.xz"), 4, 60) if len(row.prompt) < 800]
    for row in drawn:
        found = read_row(row.prompt, row.answer)
        assert (found.gold, found.span) == (row.gold, one_line(row.span))
        assert found.passages == tuple(one_line(one) for one in row.passages)
        assert found.prompt == row.prompt
    questions = Questions([encode_rows(drawn, tokenizer)], tokenizer, 2048, 100, seed=1)
    assert [one.row.prompt for one in questions.all()] == [row.prompt for row in drawn]
    tokens = questions.coder.encode(drawn[0].prompt, add_special_tokens=False).ids
    assert questions.all()[0].prompt == tokens
    assert questions.ends().index(True) == END_ID
    assert sum(questions.ends()) > 1


def test_questions_come_once_an_epoch_and_long_ones_never(corpus: Path, tokenizer: Path) -> None:
    drawn = [row for row in rows(Builder(corpus, corpus / "00.txt.xz"), 4, 60) if len(row.prompt) < 800]
    parts = [encode_rows(drawn, tokenizer)]
    questions = Questions(parts, tokenizer, 250, 14, seed=1)
    assert 9 < len(questions) < len(drawn)
    assert max(len(one.prompt) for one in questions.all()) <= 250
    answers = [questions.coder.encode(one.row.answer, add_special_tokens=False).ids for one in questions.all()]
    assert max(map(len, answers)) <= 14
    epochs = [[one.row.prompt for one in questions.draw(range(n * len(questions), (n + 1) * len(questions)))]
              for n in (0, 1)]  # fmt: skip
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(one.row.prompt for one in questions.all())
    assert epochs[0] != epochs[1]
    assert epochs[0][5:9] == [one.row.prompt for one in questions.draw(range(5, 9))]
    with pytest.raises(ValueError, match="at most 3 tokens"):
        Questions(parts, tokenizer, 3, 12, seed=1)


def test_held_out_questions_are_of_each_kind_and_of_no_training_group(
    corpus: Path, tokenizer: Path, tmp_path: Path
) -> None:
    write_held_out(corpus, tokenizer, tmp_path, 20, seed=1)
    parts = load_rows(tmp_path)
    assert [len(index) for _, index in parts] == [10, 6, 4]
    real = Questions(parts[:1], tokenizer, 2048, 100, seed=1).all()
    builder = Builder(corpus, corpus / "00.txt.xz", held_out=True)
    known = {one_line(" ".join(sentences)) for sentences in builder.real.sentences}
    for one in real:
        if one.row.gold:
            assert any(one.row.passages[one.row.gold - 1] in context or one.row.span in context for context in known)


def test_fresh_questions_are_in_no_other_row(corpus: Path) -> None:
    fresh, known, both, held_out = (
        set(Builder(corpus, corpus / "00.txt.xz", **which).real.groups)
        for which in ({"fresh": True}, {"fresh": False}, {}, {"held_out": True})
    )
    assert fresh and not fresh & known and fresh | known == both
    assert 0.03 < len(fresh) / len(both) < 0.2
    assert not held_out & both


def test_building_rows_leaves_fresh_questions_out_where_they_are_asked_for(
    corpus: Path, tokenizer: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    RowsBuilding(corpus, tmp_path, 40, 1, fresh=30).wait()
    contexts = {fresh: _contexts(Builder(corpus, corpus / "00.txt.xz", fresh=fresh)) for fresh in (True, False)}
    for folder, count, own in ((tmp_path / "rows", 40, False), (tmp_path / "rows" / FRESH, 30, True)):
        parts = load_rows(folder)
        assert len(parts) == 1 and 0.8 * count < len(parts[0][1]) <= count  # long ones are left out
        golds = [one.row.passages[one.row.gold - 1] for one in Questions(parts, tokenizer, 2048, 200, seed=1).all()
                 if one.row.gold]  # fmt: skip
        assert any(gold in context for gold in golds for context in contexts[own])
        assert not any(gold in context for gold in golds for context in contexts[not own])
    assert (tmp_path / "rows" / HELD_OUT / "2.tokens").exists()


def _contexts(builder: Builder) -> list[str]:
    return [one_line(" ".join(sentences)) for sentences in builder.real.sentences]


def test_a_stage_without_held_out_questions_or_with_impossible_terms_is_refused(world: Path, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    with pytest.raises(BadRecipe, match="held_out is not there"):
        open_questions(RECIPE, 0, tmp_path, lambda: None)
    own = replace(STAGE, policy=replace(POLICY, fresh=True))
    with pytest.raises(BadRecipe, match="fresh is not there"):
        open_questions(replace(RECIPE, stages=(own,)), 0, world, lambda: None)
    with pytest.raises(BadRecipe, match="cannot begin"):
        open_questions(replace(RECIPE, stages=(replace(STAGE, length=2),)), 0, world, lambda: None)
    file = tmp_path / "recipe.toml"
    head = '[model]\n[[stage]]\nname = "p"\ndata = "policy"\nsteps = 1\n[stage.policy]\n'
    for terms, said in (("questions = 5", "evenly"), ("rewards = { f1 = -1.0 }", "f1"), ("grupo = 3", "grupo")):
        file.write_text(head + terms + "\n", encoding="utf-8")
        with pytest.raises(BadRecipe, match=said):
            read_recipe(file)
