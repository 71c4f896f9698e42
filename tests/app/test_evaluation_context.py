"""Long-context evaluation: what is hidden can be found by reading, lengths and depths are as asked, runs resume."""

import json
import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import replace
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from app.errors import BadInput
from app.evaluation import context
from app.evaluation.context import PAGE, Plan, Unfit, evaluate, fit, journal_name
from app.evaluation.context_tasks import TASKS, Place, probe
from app.evaluation.haystack import Haystack, read_haystack, wordings
from app.evaluation.scores import wilson
from app.evaluation.variant import variant
from app.workspace import Workspace
from model.config import Config, Yarn, read_config
from model.engine import Delta, Event, Finished, Prompt, Request, Score, Usage
from model.open import embedded_folder
from tests.app import schemas
from tests.app.cli_run import Run
from tests.app.fakes_engine import FakeEngine

QUICK = Plan((1024, 2048), depths=3, trials=1)


def solve(text: str) -> list[str]:
    """The answers, by someone who reads the whole prompt."""
    if key := re.search(r"text above give for (\w+)\?", text):
        return re.findall(rf"the one for {key[1]}, reads (\d+)\.", text)
    if value := re.search(r"hold the value (\d+)", text):
        held = {value[1]}
        for name, source in re.findall(r"VAR (\w+) = (?:VAR )?(\w+)\.", text):
            held |= {name} if source in held else set()
        return sorted(held - {value[1]})
    if "words come up most often" in text:
        return [word for word, _ in Counter(re.findall(r"\d+\. (\w+)", text)).most_common(10)]
    return re.findall(r"As pass key, use (\d+)\.", text)


class Reader(FakeEngine):
    """Answers right, or with nothing; interrupted at request number `stop`."""

    def __init__(self, right: bool = True, stop: int = 10**6, **options: Any) -> None:
        super().__init__(**options)
        self.right, self.stop = right, stop

    def generate(self, request: Request) -> Generator[Event, None, None]:
        if len(self.requests) == self.stop:
            raise KeyboardInterrupt
        self.requests.append(request)
        tokens = self.count_tokens(request.prompt)
        assert tokens + request.sampling.max_tokens <= self.context
        yield Delta(f"I read: {', '.join(solve(words(request.prompt)))}." if self.right else "I have no idea.")
        yield Finished("stop", Usage(tokens, 7, 3), 1.0, 1.0)

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> list[Score]:
        answers = solve(words(prompt))
        return [Score(-1.0 if (one.strip(" ,.") in answers) == self.right else -2.0, 1) for one in candidates]


def words(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else str(getattr(prompt[0], "content", ""))


@pytest.fixture(scope="module")
def haystack() -> Haystack:
    return read_haystack(None)


def test_a_reader_finds_everything_and_silence_nothing(haystack: Haystack) -> None:
    found = evaluate(Reader(), haystack, QUICK)
    assert found["metrics"] == {f"{task}@{length}": 1.0 for length in (1024, 2048) for task in TASKS}
    assert found["items"] == 24 and found["settings"]["answering"] == "chat"
    assert found["intervals"]["passkey@1024"] == pytest.approx((0.438, 1.0), abs=1e-3)
    missed = evaluate(Reader(right=False), haystack, QUICK)
    assert set(missed["metrics"].values()) == {0.0}


def test_a_model_without_a_chat_continues_the_text_or_scores_candidates(haystack: Haystack) -> None:
    engine = Reader(capabilities=("score", "span"))
    assert set(evaluate(engine, haystack, QUICK)["metrics"].values()) == {1.0}
    prompt = words(engine.requests[0].prompt)
    assert prompt.startswith("<|begin|>") and prompt.endswith("\nAs pass key, use")
    scored = evaluate(Reader(), haystack, replace(QUICK, answering="score"))
    assert set(scored["metrics"].values()) == {1.0}
    chance = scored["baselines"]["chance"]
    assert [chance[f"{task}@1024"] for task in TASKS] == pytest.approx([0.1, 0.125, 0.5, 0.5])
    wrong = evaluate(Reader(right=False), haystack, replace(QUICK, answering="score"))
    assert set(wrong["metrics"].values()) == {0.0}


def test_prompts_hit_their_length_within_a_page(haystack: Haystack) -> None:
    engine = Reader()
    evaluate(engine, haystack, QUICK)
    for request, length in zip(engine.requests, [1024] * 12 + [2048] * 12, strict=True):
        room = length - request.sampling.max_tokens
        assert room - PAGE < engine.count_tokens(request.prompt) <= room


def test_depths_are_spread_evenly_and_the_text_before_a_needle_is_the_same(haystack: Haystack) -> None:
    engine = Reader()
    result = evaluate(engine, haystack, Plan((2048,), ("multikey",), depths=3, trials=2))
    assert [cell["depth"] for cell in result["cells"]] == [1.0, 0.5, 0.0]
    prompts = [words(request.prompt) for request in engine.requests]
    needles = [text.index(f"reads {solve(text)[0]}") for text in prompts]
    body = len(prompts[0])
    assert [round(at / body, 1) for at in needles] == [1.0, 0.5, 0.0, 1.0, 0.5, 0.0]
    assert prompts[0][: needles[1] - 70] == prompts[1][: needles[1] - 70]
    assert prompts[0][:500] != prompts[3][:500], "another trial reads another part of the haystack"


def test_needles_stand_between_sentences_in_their_order() -> None:
    few = Haystack("few", ("One", "two", "three.", "Four", "five", "six.", "Seven", "eight", "nine."))
    assert few.window(0, 9, [(0.5, "A."), (0.5, "B."), (0.0, "C.")]) == (
        "C. One two three. A. B. Four five six. Seven eight nine."
    )
    assert few.window(8, 3, []) == "nine. One two", "a haystack is read in a circle"


def test_other_seeds_hide_other_values(haystack: Haystack) -> None:
    for task in TASKS:
        one, same, other = (probe(task, Place(seed, 1024, 0.5, 0), haystack) for seed in (1, 1, 2))
        assert one.gold == same.gold != other.gold
        assert set(one.gold) < set(one.candidates)


def test_no_training_sentence_has_the_form_of_one_of_the_evaluation() -> None:
    def form(text: str) -> str:
        return re.sub(r"\\\{\w+\\\}", "([^.,:;]+)", re.escape(text.strip().lower()))

    def sentences(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        nested = value.values() if isinstance(value, dict) else value
        return [one for part in nested for one in sentences(part)]

    training = tomllib.loads((resources.files("model.train") / "needles.toml").read_text("utf-8"))
    told = [one for name in ("one", "keys", "chain", "words") for one in sentences(training[name])]
    assert len(told) > 40
    filled = {"value": "12345", "key": "oysters", "name": "ABCDE", "before": "FGHIJ", "count": "5"}
    for task in TASKS:
        for kind, text in wordings()[task].items():
            if kind != "keys":
                said = text.format(**filled).lower()
                assert not [one for one in told if re.fullmatch(form(one), said)], said


def test_an_interrupted_run_goes_on_and_ends_as_one_that_was_not(haystack: Haystack, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with pytest.raises(KeyboardInterrupt):
        evaluate(Reader(stop=10), haystack, QUICK, journal)
    with journal.open("a") as file:
        file.write('{"task": "torn')
    told: list[tuple[int, int]] = []
    again = Reader()
    resumed = evaluate(again, haystack, QUICK, journal, lambda done, total, what: told.append((done, total)))
    assert len(again.requests) == 14
    assert told[-1] == (36 * 1024, 36 * 1024)
    whole = evaluate(Reader(), haystack, QUICK)
    assert resumed | {"seconds": 0} == whole | {"seconds": 0}


def test_a_journal_is_of_one_model_text_and_plan(haystack: Haystack) -> None:
    names = {
        journal_name(*given)
        for given in (
            ("a", haystack, QUICK), ("b", haystack, QUICK), ("a", Haystack("made", ("x",)), QUICK),
            ("a", haystack, replace(QUICK, seed=1)), ("a", haystack, replace(QUICK, depths=4)),
        )
    }  # fmt: skip
    assert len(names) == 5
    assert journal_name("a", haystack, QUICK) == journal_name("a", haystack, replace(QUICK, trials=9))


def test_what_the_window_or_the_task_does_not_allow_is_skipped(haystack: Haystack) -> None:
    result = evaluate(Reader(context=1024), haystack, replace(QUICK, lengths=(256, 1024, 2048)))
    assert result["skipped"] == {f"{task}@2048": "the model's window is 1024 tokens" for task in TASKS} | {
        "common@256": result["skipped"]["common@256"]
    }
    assert {"passkey@256", "common@1024"} <= set(result["metrics"])


def test_after_each_length_it_is_told_how_long_the_longer_ones_take(
    haystack: Haystack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = count()
    monkeypatch.setattr(context, "perf_counter", lambda: float(next(ticks)))  # each of 12 trials takes a second
    told: list[tuple[int, float, float]] = []
    plan = replace(QUICK, lengths=(4096, 1024, 2048, 8192))
    evaluate(Reader(context=4096), haystack, plan, foretell=lambda *one: told.append(one))
    assert told == [(1024, 12 * (2 + 4), 12 * (4 + 16)), (2048, 12 * 2, 12 * 4)], "the window holds 4,096 tokens"


def test_fitting_finds_a_count_for_any_growth_and_says_when_there_is_none() -> None:
    for growth in (1.0, 1.37, 4.2, 11.0):
        number, tokens = fit(lambda count, growth=growth: 30 + int(count**1.02 * growth), 5000, 0, 5000)  # type: ignore[misc]
        assert 5000 - PAGE < tokens == 30 + int(number**1.02 * growth) <= 5000
    with pytest.raises(Unfit, match="more than a page"):
        fit(lambda count: 200 * count, 999, 0, 10)
    with pytest.raises(Unfit, match="shortest"):
        fit(lambda count: 200 * count, 999, 10, 10)


def test_the_interval_is_the_score_interval() -> None:
    assert wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(1.0, 50) == pytest.approx((0.9287, 1.0), abs=1e-4)


def test_a_haystack_is_text_or_refused(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("four five")
    (tmp_path / "a.md").write_text("one\n two\n")
    (tmp_path / "c.json").write_text("{}")
    assert read_haystack(tmp_path).words == ("one", "two", "four", "five")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(BadInput):
            read_haystack(path)
    with pytest.raises(BadInput, match="needle"):
        Plan((1024,), ("needle",))


def test_a_tiny_checkpoint_is_measured_and_reads_a_shared_beginning_once(tmp_path: Path, haystack: Haystack) -> None:
    import torch

    from model.random_weights import random_model
    from model.saving import save_model
    from model.settings import ModelSettings
    from model.torch_engine import TorchEngine

    config = Config(
        "deepseek_v3", 16_256, 32, 32, 16, 2, 2, 16, 8, 8, 8, 4, 2, max_position_embeddings=1024, eos_token_ids=(1,)
    )
    save_model(random_model(config, torch.float32, torch.device("cpu")), tmp_path, torch.float32)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(embedded_folder() / name, tmp_path / name)
    engine = TorchEngine(tmp_path, ModelSettings(device="cpu", threads=1))
    try:
        result = evaluate(engine, haystack, Plan((1024, 2048), ("passkey",), depths=3, trials=1))
    finally:
        engine.close()
    assert result["metrics"] == {"passkey@1024": 0.0}, "random weights find nothing"
    assert result["skipped"] == {"passkey@2048": "the model's window is 1024 tokens"}
    read = result["settings"]["prompt_tokens"] - result["settings"]["cached_tokens"]
    assert read < 0.9 * result["settings"]["prompt_tokens"], (read, result["settings"])


def test_a_variant_has_the_weights_and_another_configuration(tmp_path: Path) -> None:
    yarn = Yarn(40.0, 4096, mscale=1.0, mscale_all_dim=1.0)
    config = Config("deepseek_v3", 64, 32, 32, 16, 1, 2, 16, 8, 8, 8, 4, 2, yarn=yarn)
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with variant(tmp_path, ["rope_scaling=null", "max_position_embeddings=8192"]) as folder:
        assert (folder / "model.safetensors").read_bytes() == b"weights"
        without = read_config(folder)
        assert without.yarn is None and without.max_position_embeddings == 8192
    assert not folder.exists()
    with variant(tmp_path, ["rope_scaling.mscale=0", "rope_scaling.mscale_all_dim=0"]) as folder:
        plain = read_config(folder)
    assert plain.yarn is not None and plain.yarn.factor == 40 and plain.yarn.rotation_scale == 1.0
    assert plain.softmax_scale == without.softmax_scale < config.softmax_scale
    for wrong in ("rope_scaling", "hidden_size.x=1"):
        with pytest.raises(BadInput), variant(tmp_path, [wrong]):
            pass


def test_the_command_prints_the_shape_draws_and_goes_on(
    loci: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Reader(stop=4)
    monkeypatch.setattr(Workspace, "engine", lambda self: engine)
    command = ("eval", "context", "--lengths", "1K,8K", "--depths", "3", "--trials", "1", "--json")
    stopped = loci(*command)
    assert (stopped.code, stopped.out) == (130, "") and "the same command goes on" in stopped.err
    engine.stop = 10**6
    for name in ("map.svg", "map.png"):
        ran = loci(*command, "--plot", tmp_path / name)
        assert ran.code == 0 and (tmp_path / name).stat().st_size > 1000
        schemas.check(ran.json, schemas.EVAL_CONTEXT)
        assert "asked in a message" in ran.err
        assert ran.json["metrics"]["tracking@1024"] == 1.0 and "tracking@8192" in ran.json["skipped"]
    assert len(engine.requests) == 12 + 12, "a finished run is no journal"
    shown = loci(*command[:-1])
    assert "passkey@8192 was skipped: the model's window is 4096 tokens." in shown.out
    assert "0.438 to 1.000" in shown.out
    told = loci(*command[:3], "1K,2K", *command[4:]).err
    assert "1,024 tokens are measured; the longer lengths take about 1 s at least" in told
    assert loci("eval", "context", "--lengths", "8K").code == 3
    for wrong in (["--lengths", "x"], ["--tasks", "x"], ["--path", tmp_path / "none"], ["--plot", "x.pdf"]):
        assert loci("eval", "context", *wrong).code == 2
