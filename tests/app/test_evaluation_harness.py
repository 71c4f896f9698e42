"""lm-evaluation-harness over an engine: what the bridge asks of it, and a whole run where the harness is installed."""

import json
from collections.abc import Generator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.errors import BadInput
from app.evaluation.harness import (
    HarnessOptions,
    evaluate,
    sampling_of,
    score_all,
    score_text,
    to_prompt,
    to_text,
)
from model.engine import Delta, EngineInfo, Event, Finished, Message, Prompt, Request, Sampling, Score, Usage
from model.errors import MissingExtra
from model.settings import ModelSettings
from tests.app.batch_server import BatchServer

HARNESS = find_spec("lm_eval") is not None


class Speller:
    """Finds the words of `likely` likely, writes them after any prompt; a token is a character."""

    def __init__(self, likely: str, context: int = 64) -> None:
        self.likely, self.context = likely, context
        self.scored: list[tuple[Prompt, list[str]]] = []
        self.requests: list[Request] = []

    def describe(self) -> EngineInfo:
        return EngineInfo("s", "s", "torch", "s", self.context, "none", ("cpu",), frozenset({"chat", "score"}))

    def count_tokens(self, prompt: Prompt) -> int:
        return len(prompt)

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> list[Score]:
        self.scored.append((prompt, list(candidates)))
        return [Score(-1.0 if one.strip() in self.likely else -9.0, len(one)) for one in candidates]

    def generate(self, request: Request) -> Generator[Event, None, None]:
        self.requests.append(request)
        yield Delta("thinking", reasoning=True)
        yield Delta(self.likely[: request.sampling.max_tokens])
        yield Finished("stop", Usage(), 0.0, 0.0)

    def close(self) -> None: ...


def test_a_context_is_read_once_for_all_its_continuations_and_answers_come_in_order() -> None:
    engine = Speller("four and more")
    pairs = [("2+2=", "four"), ("a", "x"), ("2+2=", "five"), ("2+2=", "four")]
    found = score_all(engine, pairs)  # type: ignore[arg-type]  # a part of the protocol
    assert found == [(-1.0, True), (-9.0, False), (-9.0, False), (-1.0, True)]
    assert engine.scored == [("2+2=", ["four", "five"]), ("a", ["x"])]
    assert [request.sampling.max_tokens for request in engine.requests] == [4, 1]


def test_a_long_text_is_scored_whole_in_pieces_that_fit() -> None:
    engine = Speller("", context=40)
    text = "the ferry leaves the quay at seven and returns at nine  and nobody waits for it"
    assert score_text(engine, text) == -9.0 * len(engine.scored)  # type: ignore[arg-type]
    assert "".join(piece for _, (piece,) in engine.scored) == text
    assert all(len(context) + len(piece) < 40 for context, (piece,) in engine.scored)
    assert [context for context, _ in engine.scored][1:] == [piece for _, (piece,) in engine.scored][:-1]


def test_messages_pass_through_the_harness_as_text() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hé\n"}]
    assert to_prompt(to_text(messages)) == [Message("system", "Be brief."), Message("user", "Hé\n")]
    assert (to_prompt("plain"), to_prompt("")) == ("plain", "\n")


def test_what_a_task_asks_of_generation_becomes_sampling() -> None:
    greedy = {"until": ["\n", ""], "max_gen_toks": 999, "temperature": 0.7}
    assert sampling_of(greedy, 100, 3) == Sampling(seed=3, max_tokens=50, stop=("\n",))
    drawn = {"until": ".", "do_sample": True, "temperature": 0.7, "top_p": 0.9}
    expected = Sampling(temperature=0.7, top_p=0.9, seed=0, max_tokens=256, stop=(".",))
    assert sampling_of(drawn, 1000, 0) == expected


@pytest.mark.skipif(HARNESS, reason="lm-evaluation-harness is installed")
def test_without_the_extra_its_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match="eval"):
        evaluate(["x"], tmp_path, Speller(""), HarnessOptions())  # type: ignore[arg-type]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Two tasks over three rows."""
    rows = [("The boat lies in the", ["harbour", "xq"]), ("Two and two make", ["four", "zz"]), ("East or", ["qq", "w"])]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"q": q, "choices": c, "gold": 0}) + "\n" for q, c in rows))
    shared: dict[str, Any] = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}},
                              "test_split": "test", "doc_to_text": "{{q}}"}  # fmt: skip
    choose = {"task": "choose", "output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "gold",
              "metric_list": [{"metric": "acc"}]}  # fmt: skip
    write = {"task": "write", "output_type": "generate_until", "doc_to_target": "{{choices[gold]}}",
             "generation_kwargs": {"until": ["."]}, "metric_list": [{"metric": "exact_match"}]}  # fmt: skip
    for task in (choose, write):
        (tmp_path / f"{task['task']}.yaml").write_text(json.dumps(shared | task))
    return tmp_path


@pytest.mark.skipif(not HARNESS, reason="the extra eval is not installed")
def test_tasks_of_the_users_own_are_run_and_counted(tasks: Path) -> None:
    engine: Any = Speller("harbour")
    found = evaluate(["choose", "write"], tasks, engine, HarnessOptions())
    # "harbour" is likelier than "xq"; of two unlikely ones the first is taken, and an "x" is in no likely word.
    assert found["metrics"]["choose.acc"] == 1.0 and found["items"] == 6
    assert found["metrics"]["write.exact_match"] == pytest.approx(1 / 3)
    chat = evaluate(["write"], tasks, engine, HarnessOptions(chat=True, limit=1))
    assert chat["items"] == 1 and engine.requests[-1].prompt == [Message("user", "The boat lies in the")]


@pytest.mark.skipif(not HARNESS, reason="the extra eval is not installed")
def test_a_remote_model_writes_several_answers_at_once_and_in_order(tasks: Path) -> None:
    from app.evaluation.harness_model import as_harness_model
    from model.remote_engine import RemoteEngine

    server = BatchServer(seconds=0.1)
    engine = RemoteEngine(server.url, ModelSettings(retries=0))
    asked = [SimpleNamespace(args=(to_text([{"role": "user", "content": str(n)}]), {})) for n in range(12)]
    alone = as_harness_model(engine, 0, 1).generate_until(asked[:2])
    together = as_harness_model(engine, 0, 6).generate_until(asked)
    engine.close()
    server.close()
    assert together[:2] == alone and len(set(together)) == 12 and server.most > 1


@pytest.mark.skipif(not HARNESS, reason="the extra eval is not installed")
def test_an_unknown_task_and_data_that_is_not_there_are_named(tasks: Path) -> None:
    engine: Any = Speller("")
    with pytest.raises(BadInput, match="choose, write"):
        evaluate(["other"], tasks, engine, HarnessOptions())
    (tasks / "data.jsonl").unlink()
    with pytest.raises(BadInput, match="cannot be run"):
        evaluate(["choose"], tasks, engine, HarnessOptions())
