"""Answers, engines and rooms made by hand, for tests that are about the doors and not about what stands behind them."""

from app.answer import Answer, Ask, Citation, ModelUsed, Timing, Used, Window
from model.engine import Usage
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
