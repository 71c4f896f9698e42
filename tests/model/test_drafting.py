"""Decoding with a checkpoint's own prediction layers: the answer stays, drafts are kept, and caches stay right."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.engine import (
    Choice,
    Constraint,
    Delta,
    Finished,
    Grammar,
    JsonSchema,
    Message,
    Request,
    Sampling,
    Usage,
)
from model.errors import ModelError
from model.sequence import TokenSequence
from model.settings import ModelSettings
from model.torch_engine import TorchEngine

Make = Callable[..., tuple[Path, Any]]
PROMPTS = ["The harbour", "Where is the mill?", "a" * 90, "1868: ", "naïve – £5", "<eos>x", "Z", "the the the the"]
CHAT = [Message("system", "Be brief."), Message("user", "Where is the harbour?")]


def with_predictor(folder: Path, target: Path, foresight: float) -> Path:
    """The checkpoint with a prediction layer that sees the next token as much as `foresight` (0 to 1) says.

    Attention and experts are turned down, so that the next token depends mostly on the last: a predictor that hands on
    the embedding of the token after foretells it.
    """
    shutil.copytree(folder, target)
    generator = torch.Generator().manual_seed(5)
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor.mul_(0.005)
    width, last = tensors["model.norm.weight"].shape[0], 2
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(f"model.layers.{last}.")}
    added = {name.replace(f"layers.{last}.", f"layers.{last + 1}."): tensor.clone() for name, tensor in own.items()}
    noise = torch.randn(width, 2 * width, generator=generator) / (2 * width) ** 0.5
    chosen = torch.cat([torch.eye(width), torch.zeros(width, width)], dim=1)
    top = f"model.layers.{last + 1}."
    added |= {
        top + "eh_proj.weight": foresight * chosen + (1 - foresight) * noise,
        top + "enorm.weight": torch.ones(width),
        top + "hnorm.weight": torch.ones(width),
        top + "shared_head.norm.weight": tensors["model.norm.weight"].clone(),
        top + "shared_head.head.weight": tensors["lm_head.weight"].clone(),
        top + "embed_tokens.weight": tensors["model.embed_tokens.weight"].clone(),
    }
    save_file(tensors | added, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | {"num_nextn_predict_layers": 1}))
    return target


@pytest.fixture(scope="module")
def wise(make_checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_predictor(make_checkpoint(3)[0], tmp_path_factory.mktemp("drafting") / "wise", 0.95)


@pytest.fixture(scope="module")
def guessing(make_checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_predictor(make_checkpoint(3)[0], tmp_path_factory.mktemp("drafting") / "guessing", 0.0)


def run(engine: TorchEngine, prompt: Any, constraint: Constraint | None = None, **sampling: Any) -> tuple[str, Usage]:
    *events, last = engine.generate(Request(prompt, Sampling(**sampling), constraint))
    assert isinstance(last, Finished)
    return "".join(event.text for event in events if isinstance(event, Delta)), last.usage


@pytest.mark.parametrize("count", [1, 2, 4])
def test_greedy_answers_are_those_of_plain_decoding(wise: Path, guessing: Path, count: int) -> None:
    for folder in (wise, guessing):
        plain, drafting = (
            TorchEngine(folder, ModelSettings(speculate=0)),
            TorchEngine(folder, ModelSettings(speculate=count)),
        )
        drafted = accepted = 0
        for prompt in PROMPTS:
            expected, alone = run(plain, prompt, max_tokens=40)
            text, usage = run(drafting, prompt, max_tokens=40)
            assert text == expected
            assert usage.completion_tokens == alone.completion_tokens and alone.drafted == alone.accepted == 0
            drafted, accepted = drafted + usage.drafted, accepted + usage.accepted
        print(f"{folder.name}, {count} drafts a pass: {accepted} of {drafted} kept")
        assert (accepted > drafted / 3 if folder is wise else accepted < drafted / 3) and drafted > 0


@pytest.mark.parametrize(
    "options",
    [{"temperature": 0.7}, {"temperature": 1.2, "top_p": 0.9, "min_p": 0.01}, {"repetition_penalty": 1.2},
     {"temperature": 0.5, "presence_penalty": 0.5, "frequency_penalty": 0.3, "logprobs": 2}],
)  # fmt: skip
def test_a_seed_draws_the_same_answer_with_and_without_drafts(wise: Path, options: dict[str, Any]) -> None:
    plain, drafting = TorchEngine(wise, ModelSettings(speculate=0)), TorchEngine(wise, ModelSettings(speculate=2))
    accepted = 0
    for seed in range(6):
        text, usage = run(drafting, CHAT, seed=seed, max_tokens=30, **options)
        assert text == run(plain, CHAT, seed=seed, max_tokens=30, **options)[0]
        accepted += usage.accepted
    assert accepted > 0


@pytest.mark.parametrize(
    "constraint",
    [Choice(("red", "reddish", "blue–green")), Grammar('root ::= "£" [0-9]{2,9} | ("no")+'),
     JsonSchema('{"type": "object", "properties": {"a": {"enum": [1, "x"]}}, "required": ["a"]}')],
)  # fmt: skip
def test_constraints_hold_and_choose_the_same(wise: Path, constraint: Constraint) -> None:
    plain, drafting = TorchEngine(wise, ModelSettings(speculate=0)), TorchEngine(wise, ModelSettings(speculate=3))
    for options in ({}, {"temperature": 1.5, "seed": 3}):
        expected, alone = run(plain, CHAT, constraint, max_tokens=60, **options)
        text, usage = run(drafting, CHAT, constraint, max_tokens=60, **options)
        assert (text, usage.completion_tokens) == (expected, alone.completion_tokens)


def test_the_predictor_drafts_as_it_would_over_the_whole_sequence(wise: Path) -> None:
    engine = TorchEngine(wise, ModelSettings(speculate=1))
    engine._scheduler.chunk = 7
    model, text = engine._batch._runner.model, "Where the old harbour was, a mill stands."
    seen: list[tuple[list[int], list[int]]] = []
    draft = engine._batch._draft

    def noted(drawn: list[tuple[TokenSequence, int, torch.Tensor]]) -> None:
        draft(drawn)
        seen.extend((list(sequence.tokens), sequence.drafts) for sequence, _, _ in drawn)

    engine._batch._draft = noted  # type: ignore[method-assign]
    run(engine, text, max_tokens=25)
    run(engine, text[:20] + " is", max_tokens=25)  # goes back into what is held
    assert len(seen) > 10
    with torch.inference_mode():
        for tokens, drafts in seen:
            row = torch.tensor([tokens])
            hidden, _ = model.hidden(row[:, :-1])
            ahead = model.logits(model.draft_whole(0, row[:, 1:], hidden))[0, -1, : engine._tokenizer.vocab_size]
            assert drafts in ([], [int(ahead.argmax())])


def test_a_follow_up_drafts_as_a_fresh_engine_does(wise: Path, tmp_path: Path) -> None:
    engine = TorchEngine(wise, ModelSettings())
    run(engine, CHAT, max_tokens=15)
    engine.score(CHAT, ["a", "bc"])
    longer = [*CHAT[:1], Message("user", "Where is the harbour? And the mill?")]
    text, usage = run(engine, longer, max_tokens=30)
    assert usage.cached_tokens > engine.count_tokens(CHAT[:1])
    fresh = TorchEngine(wise, ModelSettings())
    expected, cold = run(fresh, longer, max_tokens=30)
    assert (text, usage.drafted, usage.accepted) == (expected, cold.drafted, cold.accepted)
    engine.save_prefix(CHAT, tmp_path / "prefix")
    restored = TorchEngine(wise, ModelSettings())
    restored.load_prefix(tmp_path / "prefix")
    again, warm = run(restored, longer, max_tokens=30)
    assert (again, warm.drafted, warm.accepted) == (expected, cold.drafted, cold.accepted)
    assert warm.cached_tokens > 0


def test_answers_end_where_they_should(wise: Path) -> None:
    plain = TorchEngine(wise, ModelSettings(speculate=0, context=64))
    drafting = TorchEngine(wise, ModelSettings(speculate=4, context=64))
    for most in (0, 1, 2, 3, 7):
        assert run(drafting, "x" * (64 - most), max_tokens=most)[0] == run(plain, "x" * (64 - most), max_tokens=most)[0]
    whole, _ = run(plain, CHAT[1:], max_tokens=20)
    for stop in (whole[2:4], whole[5:6]):
        text, usage = run(drafting, CHAT[1:], max_tokens=20, stop=(stop,))
        expected, alone = run(plain, CHAT[1:], max_tokens=20, stop=(stop,))
        assert (text, usage.completion_tokens) == (expected, alone.completion_tokens)


def test_a_cancelled_answer_leaves_the_caches_right(wise: Path) -> None:
    engine = TorchEngine(wise, ModelSettings(speculate=2))
    expected, cold = run(engine, CHAT, max_tokens=20)
    generation = engine.generate(Request(CHAT, Sampling(max_tokens=20)))
    for number, _ in enumerate(generation):
        if number == 5:
            break
    generation.close()
    text, warm = run(engine, CHAT, max_tokens=20)
    assert (text, warm.drafted, warm.accepted) == (expected, cold.drafted, cold.accepted)


def test_drafting_is_on_where_there_are_prediction_layers(wise: Path, checkpoint: Path) -> None:
    assert run(TorchEngine(wise, ModelSettings()), CHAT, max_tokens=5)[1].drafted > 0
    assert run(TorchEngine(checkpoint, ModelSettings()), CHAT, max_tokens=5)[1].drafted == 0
    with pytest.raises(ModelError, match="predict ahead"):
        TorchEngine(checkpoint, ModelSettings(speculate=1))


@pytest.mark.parametrize("pages", [None, 9])
def test_a_batch_with_drafts_gives_each_request_what_it_has_alone(wise: Path, pages: int | None) -> None:
    samplings = [Sampling(), Sampling(temperature=0.8, seed=2), Sampling(presence_penalty=1.0)] * 2
    several = [
        Request(prompt * n, replace(sampling, max_tokens=30 + n))
        for n, (prompt, sampling) in enumerate(zip(PROMPTS[:6], samplings, strict=True), 1)
    ]
    plain = TorchEngine(wise, ModelSettings(speculate=0))
    drafting = TorchEngine(wise, ModelSettings(speculate=2))
    if pages is not None:
        drafting._blocks.__init__(pages)  # type: ignore[misc]  # fewer than a window, to meet their end
    texts, accepted = [""] * len(several), 0
    for number, event in drafting.generate_all(several):
        if isinstance(event, Delta):
            texts[number] += event.text
        elif isinstance(event, Finished):
            accepted += event.usage.accepted
    assert accepted > 0
    for text, request in zip(texts, several, strict=True):
        assert text == run(plain, request.prompt, **asdict(request.sampling))[0]
    assert drafting._blocks.available == drafting._blocks.count
