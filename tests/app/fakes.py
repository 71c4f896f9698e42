"""Answers, engines and rooms made by hand, for tests that are about the doors and not about what stands behind them."""

import re
import zlib
from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from app.answer import Answer, Ask, Citation, Completed, ModelUsed, Started, Text, Timing, TurnEvent, Used, Window
from model.engine import EngineInfo, Usage
from model.errors import PromptTooLong
from retrieval.types import Locator


def make_answer(question: str, text: str = "Forty.", *, abstained: bool = False, total: float = 1.0) -> Answer:
    citation = Citation(
        1, 0, 6, "d1", "/docs/a.md", "A", None, 3, 10, 16, Locator(section="Stock"), "Forty.", "0" * 64, "verified"
    )
    return Answer(
        question=question,
        standalone_question=question,
        answer="The library does not say." if abstained else text,
        reasoning=None,
        grounded=not abstained,
        abstained=abstained,
        reason="Nothing in the library supports an answer." if abstained else None,
        confidence=0.9,
        citations=() if abstained else (citation,),
        unsupported=(),
        query=None,
        memories=(),
        context=Window(4096, Used(question=4)),
        scope=("main",),
        library_epoch=7,
        seed=0,
        model=ModelUsed("embedded", "torch", "deepseek_v3", "float32", ("cpu",)),
        usage=Usage(10, 2, 3),
        timing_ms=Timing(total=total),
    )


def answer_to(ask: Ask) -> Answer:
    """A deterministic answer that depends on the question, and abstains when asked about nothing."""
    return make_answer(ask.question, ask.question.upper(), abstained="nothing" in ask.question)


class FakeEmbedder:
    """Words hashed into 64 dimensions: texts that share words are near each other."""

    id = "fake"
    sha256 = "f" * 64
    dimension = 64
    max_tokens = 256

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                vectors[row, zlib.crc32(word.encode()) % self.dimension] += 1
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), np.float32)

    def count_tokens(self, text: str) -> int:
        return len(re.findall(r"\w+|[^\w\s]", text)) + 2


class FakeEngine:
    """Knows what it is, and nothing else."""

    def describe(self) -> EngineInfo:
        return EngineInfo(
            "embedded",
            "loci-small",
            "torch",
            "deepseek_v3",
            4096,
            "float32",
            ("cpu",),
            frozenset({"span"}),
            71_900_000,
            30_800_000,
        )

    def close(self) -> None:
        pass


class FakeAssistant:
    """Answers every question at once, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []

    def ask(self, ask: Ask) -> Answer:
        self.asked.append(ask)
        if ask.question == "break":
            raise PromptTooLong("The question is too long.", "Shorten it.")
        if ask.question == "crash":
            raise ZeroDivisionError("oops")
        if ask.question == "interrupt":
            raise KeyboardInterrupt
        return answer_to(ask)

    def turn(self, ask: Ask) -> Generator[TurnEvent, None, None]:
        yield Started("load")
        answer = self.ask(ask)
        yield Text(answer.answer)
        yield Completed(answer)
