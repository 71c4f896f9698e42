"""An engine as lm-evaluation-harness wants a model. Imports the harness, so it is itself imported late."""

from typing import Any

from lm_eval.api.model import LM

from app.evaluation.harness import sampling_of, score_all, score_text, to_text, write
from app.in_order import in_order
from model.engine import Engine


class _Model(LM):  # type: ignore[misc]  # the harness is an extra, seen by mypy as Any
    """Requests in the harness's words; answers are written by so many threads, all else is done in order."""

    def __init__(self, engine: Engine, seed: int, workers: int) -> None:
        super().__init__()
        self._engine = engine
        self._seed = seed
        self._workers = workers

    @property
    def tokenizer_name(self) -> str:
        return self._engine.describe().name

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return to_text(chat_history)

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        return score_all(self._engine, [request.args for request in requests])

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        return [score_text(self._engine, request.args[0]) for request in requests]

    def generate_until(self, requests: list[Any]) -> list[str]:
        if self._workers == 1:  # native libraries tie some of their state to the thread
            return [self._written(*request.args) for request in requests]
        return list(in_order(requests, lambda request: self._written(*request.args), self._workers))

    def _written(self, context: str, wanted: dict[str, Any]) -> str:
        sampling = sampling_of(wanted, self._engine.describe().context, self._seed)
        return write(self._engine, context, sampling)


def as_harness_model(engine: Engine, seed: int, workers: int) -> LM:
    return _Model(engine, seed, workers)
