"""Best of several answers, and the rewriting of what nothing supports: each against a single draft, on questions whose
answers are known.

    PYTHONPATH=. python tests/grounding/drafts/measure.py DATASET PATH [--limit 100] [--best-of 4] [--model REF]

DATASET is `xquad` or `clapnq`, PATH as for `loci eval grounding`. A model that writes answers as it does for users. The
embedded one is made to write: it is given the question and the passages in the form that it was trained on, and what
it draws, token by token, is the draft. Chance is in the draws, so that every way is run with several seeds.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from app.answer import Answer, Ask
from app.assistant import Assistant
from app.evaluation.grounding import Question, _measure_clapnq, _measure_xquad, _xquad, read_clapnq
from app.settings_assistant import AssistantSettings
from model.engine import Delta, Engine, EngineInfo, Event, Finished, Logprobs, Message, Prompt, Request
from model.spanformat import MAX_PASSAGES, parse_answer, span_prompt
from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from tests.grounding.everyday.measure import opened

_PASSAGE = re.compile(r'<passage n="(\d+)"[^>]*>\n(.*?)\n</passage>', re.DOTALL)
_QUESTION = re.compile(r"^Question: (.+)$", re.MULTILINE)
_CHARACTERS = 4000
"""Of all passages that one prompt takes."""
_TOKENS = 32


class Written:
    """The embedded model as one that writes: chat messages become its own form, its span an answer with a mark.

    What was drawn once is not drawn again: ways that share a draft differ by what they make of it alone.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._drawn: dict[tuple[str, float, int], list[Event]] = {}

    def describe(self) -> EngineInfo:
        return replace(self._engine.describe(), capabilities=frozenset({"chat"}))

    def count_tokens(self, prompt: Prompt) -> int:
        return self._engine.count_tokens("\n".join(one.content for one in _messages(prompt)))

    def generate(self, request: Request) -> Generator[Event, None, None]:
        said = "\n".join(one.content for one in _messages(request.prompt) if one.role == "user")
        numbers, texts = _passages(said)
        prompt = span_prompt((_QUESTION.findall(said) or [said])[-1], texts)
        sampling = replace(request.sampling, max_tokens=_TOKENS, stop=("\n",), logprobs=1)
        key = (prompt, sampling.temperature, sampling.seed)
        if key not in self._drawn:
            self._drawn[key] = list(self._engine.generate(Request(prompt, sampling)))
        events = self._drawn[key]
        number, span = parse_answer("".join(one.text for one in events if isinstance(one, Delta)))
        known = 0 < number <= len(numbers) and bool(span)
        yield from (one for one in events if isinstance(one, Logprobs) and request.sampling.logprobs)
        yield Delta(f"{span} [{numbers[number - 1]}]" if known else "The documents do not say.")
        yield from (one for one in events if isinstance(one, Finished))

    def close(self) -> None:
        self._engine.close()


def _messages(prompt: Prompt) -> Sequence[Message]:
    return [one for one in prompt if isinstance(one, Message)]


def _passages(said: str) -> tuple[list[str], list[str]]:
    """Numbers and texts of the passages, as many as one prompt takes."""
    numbers: list[str] = []
    texts: list[str] = []
    for number, text in _PASSAGE.findall(said)[:MAX_PASSAGES]:
        if texts and sum(map(len, texts)) + len(text) > _CHARACTERS:
            break
        numbers.append(number)
        texts.append(text[:_CHARACTERS])
    return numbers, texts


def answers(
    questions: Sequence[Question],
    library: Library,
    engine: Engine,
    settings: AssistantSettings,
    best_of: int,
    seed: int,
) -> Iterator[Answer]:
    """The answer to each question, from its attachment or from the library."""
    assistant = Assistant(lambda: engine, library, None, settings)
    for one in questions:
        attached = (one.attachment,) if one.attachment is not None else ()
        ask = Ask(one.text, attachments=attached, use_library=not attached, use_memory=False, store=False, seed=seed)
        yield assistant.ask(replace(ask, best_of=best_of, max_tokens=256))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=("xquad", "clapnq"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--best-of", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--passages", type=int, default=4)
    parser.add_argument("--model", default="embedded")
    chosen = parser.parse_args()
    engine = opened(chosen.model)
    if "chat" not in engine.describe().capabilities:
        engine = Written(engine)  # type: ignore[assignment]  # what a turn asks of it, it has
    ways = {"draft": (1, 0), "mend": (1, 2), "best": (chosen.best_of, 0), "best and mend": (chosen.best_of, 2)}
    drafts: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        library = Library(Path(folder), Path(folder) / "cache", RetrievalSettings())
        xquad = chosen.dataset == "xquad"
        questions = (_xquad(chosen.path, library, Path(folder)) if xquad else read_clapnq(chosen.path))[: chosen.limit]
        for name, (best_of, rounds) in ways.items():
            for seed in range(chosen.seeds if best_of > 1 or rounds else 1):
                settings = AssistantSettings(passages=chosen.passages, mend=rounds)
                began = time.perf_counter()
                found = list(answers(questions, library, engine, settings, best_of, seed))
                measured = (_measure_xquad if xquad else _measure_clapnq)(questions, found)
                bad = sum(bool(one.unsupported) for one in found)
                drafts = drafts or [one.answer for one in found]
                changed = sum(one.answer != draft for one, draft in zip(found, drafts, strict=True))
                told = ", ".join(f"{key} {value:.3f}" for key, value in measured.items())
                told += f"; {bad} with unsupported, {changed} changed; {time.perf_counter() - began:.0f} s"
                print(f"{name}, seed {seed}: {told}", flush=True)
        library.close()
    engine.close()


if __name__ == "__main__":
    main()
