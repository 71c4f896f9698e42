"""The torch engine behind the protocol: streaming, reuse, scoring, choices, prefixes, limits."""

import json
import math
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.engine import (
    Choice,
    Delta,
    Finished,
    Grammar,
    JsonSchema,
    Logprobs,
    Message,
    Prefilling,
    Request,
    Sampling,
)
from model.errors import BadCheckpoint, ModelError, NotANumber, PromptTooLong, UnsupportedConstraint
from model.runner import Runner
from model.settings import ModelSettings
from model.torch_engine import TorchEngine

Make = Callable[..., tuple[Path, Any]]
CHAT = [Message("system", "Be brief."), Message("user", "Where is the harbour?")]


@pytest.fixture
def engine(checkpoint: Path) -> TorchEngine:
    return TorchEngine(checkpoint, ModelSettings())


def run(engine: TorchEngine, prompt: Any, constraint: Any = None, **sampling: Any) -> tuple[str, Finished]:
    events = list(engine.generate(Request(prompt, Sampling(**sampling), constraint)))
    assert isinstance(events[-1], Finished)
    return "".join(event.text for event in events if isinstance(event, Delta)), events[-1]


def tokens_of(engine: TorchEngine, prompt: Any) -> list[int]:
    return engine._tokenizer.prompt_ids(prompt)


def test_greedy_decoding_matches_transformers(make_checkpoint: Make) -> None:
    for version in (2, 3):
        folder, reference = make_checkpoint(version)
        engine = TorchEngine(folder, ModelSettings())
        engine._scheduler.chunk = 7  # read in chunks, too
        ids = list(range(10, 90))
        with torch.inference_mode():
            rows = torch.tensor([ids])
            for _ in range(40):
                rows = torch.cat([rows, reference(rows).logits[:, -1:, : engine._tokenizer.vocab_size].argmax(-1)], 1)
        expected = rows[0, len(ids) :].tolist()
        expected = expected[: expected.index(1)] if 1 in expected else expected
        events = engine.generate(Request(ids, Sampling(max_tokens=40, logprobs=1)))
        assert [event.token.id for event in events if isinstance(event, Logprobs)] == expected


def test_the_events_of_a_generation(engine: TorchEngine) -> None:
    engine._scheduler.chunk = 10
    total = engine.count_tokens(CHAT)
    events = list(engine.generate(Request(CHAT, Sampling(max_tokens=12))))
    reading = [event for event in events if isinstance(event, Prefilling)]
    assert [event.done for event in reading] == [*range(10, total, 10), total]
    assert {event.total for event in reading} == {total}
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.usage.prompt_tokens == total
    assert last.usage.completion_tokens <= 12
    assert last.prefill_ms > 0
    assert pickle.loads(pickle.dumps(events)) == events


def test_a_follow_up_reads_only_what_is_new_and_answers_the_same(engine: TorchEngine, checkpoint: Path) -> None:
    run(engine, CHAT, max_tokens=8)
    longer = [*CHAT[:1], Message("user", "Where is the harbour? And the mill?")]
    warm, finished = run(engine, longer, max_tokens=20)
    common = len(tokens_of(engine, [*CHAT[:1]])) - 1 + len("Where is the harbour?")
    assert finished.usage.cached_tokens >= common
    cold, fresh = run(TorchEngine(checkpoint, ModelSettings()), longer, max_tokens=20)
    assert fresh.usage.cached_tokens == 0
    assert warm == cold


def test_closing_the_generator_between_chunks_leaves_a_usable_engine(engine: TorchEngine, checkpoint: Path) -> None:
    engine._scheduler.chunk = 5
    generation = engine.generate(Request(CHAT, Sampling(max_tokens=20)))
    assert next(generation) == Prefilling(5, engine.count_tokens(CHAT))
    generation.close()
    after, finished = run(engine, CHAT, max_tokens=20)
    assert finished.usage.cached_tokens == 5
    assert after == run(TorchEngine(checkpoint, ModelSettings()), CHAT, max_tokens=20)[0]


def test_cancelling_while_decoding_leaves_a_usable_engine(engine: TorchEngine) -> None:
    expected, _ = run(engine, CHAT, max_tokens=20)
    generation = engine.generate(Request(CHAT, Sampling(max_tokens=20)))
    for event in generation:
        if isinstance(event, Delta):
            break
    generation.close()
    assert run(engine, CHAT, max_tokens=20)[0] == expected


def test_sampling_is_deterministic_by_seed(engine: TorchEngine) -> None:
    settings = {"temperature": 1.5, "top_k": 50, "top_p": 0.95, "min_p": 0.01, "max_tokens": 30}
    first, _ = run(engine, CHAT, seed=1, **settings)
    assert run(engine, CHAT, seed=1, **settings)[0] == first
    assert run(engine, CHAT, seed=2, **settings)[0] != first


def full_logprob(engine: TorchEngine, prompt: list[int], candidate: list[int]) -> float:
    assert engine._runner is not None
    with torch.inference_mode():
        shares = engine._runner.model(torch.tensor([prompt + candidate]))[0].double().log_softmax(-1)
    return sum(float(shares[len(prompt) + n - 1, token]) for n, token in enumerate(candidate))


def test_scores_match_full_recomputation(engine: TorchEngine) -> None:
    candidates = ["yes", "n", "", "the old harbour by the mill", "£5 – naïve", "no"]
    scores = engine.score(CHAT, candidates)
    prompt = tokens_of(engine, CHAT)
    for candidate, score in zip(candidates, scores, strict=True):
        row = tokens_of(engine, candidate)
        assert score.tokens == len(row)
        assert score.logprob == pytest.approx(full_logprob(engine, prompt, row), abs=2e-3)


def test_weights_that_are_no_numbers_end_in_an_error(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = math.nan
    save_file(tensors, folder / "model.safetensors")
    engine = TorchEngine(folder, ModelSettings())
    for _ in range(2):
        with pytest.raises(NotANumber):
            list(engine.generate(Request(CHAT, Sampling(max_tokens=4))))
        with pytest.raises(NotANumber):
            engine.score(CHAT, ["yes", "no"])


def test_scoring_in_small_batches_changes_nothing(engine: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = ["abc" * (n % 5) + "x" for n in range(20)]
    whole = engine.score("Some text", candidates)
    monkeypatch.setattr("model.scoring._BRANCH_TOKENS", 7)
    for one, other in zip(whole, engine.score("Some text", candidates), strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


def test_scoring_reads_the_prompt_once_and_keeps_it(engine: TorchEngine) -> None:
    engine.score(CHAT, ["a", "bcd"])
    assert run(engine, CHAT, max_tokens=1)[1].usage.cached_tokens == engine.count_tokens(CHAT) - 1


def test_a_choice_yields_exactly_one_option(engine: TorchEngine) -> None:
    options = ("red", "reddish", "blue–green")
    seen = set()
    for seed in range(12):
        text, finished = run(engine, CHAT, Choice(options), temperature=3.0, seed=seed, max_tokens=20)
        assert text in options
        assert finished.reason == "stop"
        seen.add(text)
    assert len(seen) > 1


def test_a_greedy_choice_between_single_tokens_is_the_best_scored(engine: TorchEngine) -> None:
    letters = ("A", "B", "C", "D")
    scores = engine.score(CHAT, letters)
    best = letters[max(range(4), key=lambda n: scores[n].logprob)]
    assert run(engine, CHAT, Choice(letters))[0] == best


def test_constraints_that_are_not_honoured_are_refused(engine: TorchEngine) -> None:
    with pytest.raises(UnsupportedConstraint):
        run(engine, CHAT, Grammar("root ::= other"))
    with pytest.raises(UnsupportedConstraint, match="uniqueItems"):
        run(engine, CHAT, JsonSchema('{"type": "array", "uniqueItems": true}'))
    with pytest.raises(UnsupportedConstraint):
        run(engine, CHAT, Choice(()))


def test_a_grammar_is_obeyed(engine: TorchEngine) -> None:
    text, finished = run(engine, CHAT, Grammar('root ::= "£" [0-9]{2} | "no"+'), temperature=2.0, max_tokens=20)
    assert re.fullmatch(r"£[0-9]{2}|(no)+", text)
    assert finished.reason == "stop" or text.startswith("no")


def test_a_prompt_that_does_not_fit_is_refused_before_it_is_read(checkpoint: Path) -> None:
    engine = TorchEngine(checkpoint, ModelSettings(context=64))
    assert engine.describe().context == 64
    with pytest.raises(PromptTooLong, match="64"):
        run(engine, "x" * 60, max_tokens=10)
    usage = run(engine, "x" * 54, max_tokens=10)[1].usage
    assert usage.cached_tokens == 0
    assert usage.completion_tokens <= 10
    with pytest.raises(PromptTooLong):
        engine.score("x" * 60, ["abcdefgh"])
    with pytest.raises(ModelError, match="512"):
        TorchEngine(checkpoint, ModelSettings(context=513))


@pytest.mark.parametrize("prompt", ["", [], [5, 99999], [-1]])
def test_unusable_prompts_are_refused(engine: TorchEngine, prompt: Any) -> None:
    with pytest.raises(ModelError):
        run(engine, prompt)


def test_a_saved_prefix_is_not_read_again(engine: TorchEngine, checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "prefix"
    engine.save_prefix(CHAT, file)
    expected, _ = run(engine, CHAT, max_tokens=16)
    other = TorchEngine(checkpoint, ModelSettings())
    assert other.load_prefix(file) == engine.count_tokens(CHAT)
    text, finished = run(other, CHAT, max_tokens=16)
    assert text == expected
    assert finished.usage.cached_tokens == engine.count_tokens(CHAT) - 1
    assert [one.name for one in tmp_path.iterdir()] == ["prefix"]


def test_a_prefix_of_another_model_or_a_damaged_one_is_refused(
    engine: TorchEngine, make_checkpoint: Make, tmp_path: Path
) -> None:
    file = tmp_path / "prefix"
    engine.save_prefix("A long beginning.", file)
    with pytest.raises(BadCheckpoint, match="another model"):
        TorchEngine(make_checkpoint(2)[0], ModelSettings()).load_prefix(file)
    with pytest.raises(BadCheckpoint, match="another model"):
        TorchEngine(make_checkpoint(3)[0], ModelSettings(dtype="bfloat16")).load_prefix(file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(BadCheckpoint):
        engine.load_prefix(file)
    with pytest.raises(BadCheckpoint):
        engine.load_prefix(tmp_path / "absent")


def test_describe_says_what_the_model_is(make_checkpoint: Make, tmp_path: Path) -> None:
    folder, reference = make_checkpoint(3)
    info = TorchEngine(folder, ModelSettings()).describe()
    assert info.total_parameters == sum(parameter.numel() for parameter in reference.parameters())
    assert info.active_parameters is not None and info.active_parameters < info.total_parameters
    assert info.architecture == "deepseek_v3"
    assert info.capabilities == {"chat", "score", "choice", "json_schema", "grammar", "prefix"}
    assert (info.devices, info.quantization) == (("cpu",), "float32") or torch.cuda.is_available()
    copied = Path(shutil.copytree(folder, tmp_path / "own"))
    card = {"name": "Loci 20M", "capabilities": ["span", "score", "choice", "prefix"]}
    (copied / "loci.json").write_text(json.dumps(card))
    own = TorchEngine(copied, ModelSettings()).describe()
    assert own.capabilities == {"span", "score", "choice", "prefix"}
    assert own.name == "Loci 20M"


def test_decoding_leaves_the_number_of_threads_as_it_was(engine: TorchEngine) -> None:
    torch.set_num_threads(2)
    generation = engine.generate(Request(CHAT, Sampling(max_tokens=4)))
    next(event for event in generation if isinstance(event, Delta))
    generation.close()
    assert torch.get_num_threads() == 2


def test_a_closed_engine_says_so(engine: TorchEngine) -> None:
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        run(engine, CHAT)


def test_what_runs_elsewhere_ends_where_the_cache_cannot_be_made(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    closed: list[Runner] = []
    monkeypatch.setattr(Runner, "open_cache", full)
    monkeypatch.setattr(Runner, "close", lambda self: closed.append(self))
    with pytest.raises(torch.OutOfMemoryError):
        TorchEngine(checkpoint, ModelSettings())
    assert len(closed) == 1


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["zzz"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(BadCheckpoint, match="5001"):
        TorchEngine(folder, ModelSettings())


def test_log_probabilities_come_before_their_text_and_pickle(engine: TorchEngine) -> None:
    events = list(engine.generate(Request(CHAT, Sampling(temperature=1.0, seed=5, max_tokens=10, logprobs=3))))
    reported = [event for event in events if isinstance(event, Logprobs)]
    prompt, answer = tokens_of(engine, CHAT), [event.token.id for event in reported]
    assert len(answer) in (9, 10) and all(token is not None for token in answer)
    assert engine._runner is not None
    with torch.inference_mode():
        logits = engine._runner.model(torch.tensor([[*prompt, *answer]]))[0, len(prompt) - 1 : -1]
    likely = logits[:, : engine._tokenizer.vocab_size].log_softmax(-1)  # of tokens that have a text
    for row, event in zip(likely, reported, strict=True):
        assert event.token.logprob == pytest.approx(float(row[event.token.id]), abs=2e-3)
        assert [one.logprob for one in event.likeliest] == sorted((o.logprob for o in event.likeliest), reverse=True)
        assert len(event.likeliest) == 3
    assert pickle.loads(pickle.dumps(events)) == events


def test_penalties_keep_a_greedy_answer_from_repeating(engine: TorchEngine) -> None:
    def tokens(**options: float) -> list[int | None]:
        request = Request(CHAT, Sampling(max_tokens=60, logprobs=1, **options))  # type: ignore[arg-type]
        return [event.token.id for event in engine.generate(request) if isinstance(event, Logprobs)]

    free = tokens(presence_penalty=1000.0)
    assert len(set(free)) == len(free)
    plain = tokens()
    assert len(set(plain)) < len(plain)
