"""Tasks of EleutherAI's lm-evaluation-harness over any engine, on task files and data that the user supplies.

The harness makes prompts and counts; the engine scores and writes. Prompts go to the engine as plain text, or with
`chat` as messages that its own template renders. Works offline: a task's `dataset_path` is `json`, `csv`, ... with
`data_files` on this machine.
"""

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import BadInput
from model.engine import Delta, Engine, Message, Prompt, Request, Sampling
from model.errors import MissingExtra, install_command
from model.remote_engine import RemoteEngine

_CHAT = "\x00messages:"
"""How a prompt begins that is messages: the harness passes strings around."""

_NOTHING = "\n"
"""Stands for an empty context: engines read text as it stands, and something must come before what is scored."""

_TOKENS = 256
"""Longest answer where a task does not say (the harness's own default)."""


@dataclass(frozen=True, slots=True)
class HarnessOptions:
    """How the tasks are run."""

    shots: int | None = None
    """Worked examples before each question; None as the task says."""
    chat: bool = False
    limit: int | None = None
    """Only the first so many items of each task."""
    seed: int = 0
    workers: int = 1
    """Answers under way at once; more than one takes an engine that allows it, as a remote one does."""


def evaluate(tasks: Sequence[str], folder: Path, engine: Engine, options: HarnessOptions) -> dict[str, Any]:
    """Run `tasks`, whose YAML files are in `folder`; the result in the shape of every `loci eval`.

    :raises BadInput: a task is unknown or malformed, or its data cannot be read.
    :raises UnsupportedOperation: a task compares log-probabilities, which this remote engine has not.
    """
    began = time.monotonic()
    with _offline():
        found = _run(tasks, folder, engine, options)
    metrics: dict[str, float] = {}
    for task, values in found["results"].items():
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and "," in name:
                metric, _, kind = name.partition(",")
                metrics[f"{task}.{metric}" if kind == "none" else f"{task}.{metric}.{kind}"] = float(value)
    return {
        "dataset": "+".join(tasks),
        "items": sum(count["effective"] for count in found["n-samples"].values()),
        "metrics": metrics,
        "baselines": {},
        "settings": {"shots": options.shots, "chat": options.chat, "limit": options.limit, "seed": options.seed},
        "seconds": round(time.monotonic() - began, 1),
    }


@contextmanager
def _offline() -> Iterator[None]:
    """No downloads, and what the harness prepares from the data goes with this run. Read when its library is loaded."""
    with tempfile.TemporaryDirectory(prefix="loci-eval-") as scratch:
        for name in ("DATASETS_OFFLINE", "HUB_OFFLINE", "EVALUATE_OFFLINE", "DATASETS_DISABLE_PROGRESS_BARS"):
            os.environ.setdefault(f"HF_{name}", "1")
        os.environ["HF_DATASETS_CACHE"] = scratch
        yield


def _run(tasks: Sequence[str], folder: Path, engine: Engine, options: HarnessOptions) -> dict[str, Any]:
    try:
        from lm_eval import simple_evaluate  # with datasets, pandas and pyarrow: 5 s
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise MissingExtra("These measurements need lm-evaluation-harness.", install_command("eval")) from error
    from app.evaluation.harness_model import as_harness_model

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    known = TaskManager(include_path=str(folder), include_defaults=False, verbosity="ERROR")
    unknown = [task for task in tasks if task not in known.all_tasks]
    if unknown:
        there = ", ".join(sorted(known.all_tasks)) or "none"
        raise BadInput(f"{folder} has no task {unknown[0]!r} (there: {there}).", "Name one of them.")
    failures = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
    try:
        found: dict[str, Any] = simple_evaluate(
            model=as_harness_model(engine, options.seed, options.workers),
            tasks=list(tasks),
            task_manager=known,
            num_fewshot=options.shots,
            limit=options.limit,
            apply_chat_template=options.chat,
            bootstrap_iters=0,
            log_samples=False,
            random_seed=options.seed,
            fewshot_random_seed=options.seed,
        )
    except failures as error:  # of the library, on the user's files
        raise BadInput(f"The tasks of {folder} cannot be run: {type(error).__name__}: {error}.") from error
    return found


def to_text(messages: Sequence[dict[str, str]]) -> str:
    """Messages as the string that the harness carries."""
    return _CHAT + json.dumps(list(messages))


def to_prompt(context: str) -> Prompt:
    """What the engine is given for a context of the harness."""
    if context.startswith(_CHAT):
        return [Message(one["role"], one["content"]) for one in json.loads(context.removeprefix(_CHAT))]
    return context or _NOTHING


def score_all(engine: Engine, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
    """For each (context, continuation): its log-probability, and whether greedy decoding writes it. In order.

    Each context is read once for all its continuations.
    """
    together: dict[str, list[str]] = {}
    for context, continuation in pairs:
        together.setdefault(context, []).append(continuation)
    found: dict[tuple[str, str], tuple[float, bool]] = {}
    for context, continuations in together.items():
        unique = list(dict.fromkeys(continuations))
        scores = engine.score(to_prompt(context), unique)
        longest = max(score.tokens for score in scores)
        written = write(engine, context, Sampling(max_tokens=max(longest, 1)))
        for continuation, score in zip(unique, scores, strict=True):
            found[context, continuation] = score.logprob, written.startswith(continuation)
    return [found[pair] for pair in pairs]


def score_text(engine: Engine, text: str) -> float:
    """The log-probability of a whole text: in pieces of at most half the window, each after the one before it."""
    room = engine.describe().context // 2 - 1
    pieces: list[str] = [""]
    for word in _words(text):
        if pieces[-1] and engine.count_tokens(pieces[-1] + word) > room:
            pieces.append("")
        pieces[-1] += word
    before = [_NOTHING, *pieces]
    return sum(engine.score(context, [piece])[0].logprob for context, piece in zip(before, pieces, strict=False))


def _words(text: str) -> list[str]:
    """Words with the space before them; together the text."""
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


def write(engine: Engine, context: str, sampling: Sampling) -> str:
    """What the engine writes after a context, reasoning left out."""
    request = Request(to_prompt(context), sampling)
    events = engine.generate_whole(request) if isinstance(engine, RemoteEngine) else engine.generate(request)
    return "".join(event.text for event in events if isinstance(event, Delta) and not event.reasoning)


def sampling_of(wanted: dict[str, Any], context: int, seed: int) -> Sampling:
    """What a task asks of generation, as the engine's own."""
    until = wanted.get("until") or []
    stop = (until,) if isinstance(until, str) else tuple(until)
    drawn = bool(wanted.get("do_sample", False))
    return Sampling(
        temperature=float(wanted.get("temperature", 1.0)) if drawn else 0.0,
        top_p=float(wanted.get("top_p", 1.0)) if drawn else 1.0,
        seed=seed,
        max_tokens=min(int(wanted.get("max_gen_toks", _TOKENS)), max(context // 2, 1)),
        stop=tuple(one for one in stop if one),
    )
