"""Formulas in answers, as a terminal shows them."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from chat_drive import SMALL, ask
from chat_fakes import CITATIONS, FakeBackend, answer

from app.answer import Ask, Completed, TurnEvent
from tui.app import LociChat
from tui.mathematics import readable
from tui.widgets.conversation import Conversation

FORMULAS = {
    r"E = mc^2": "E = mc²",
    r"x_{ij} \leq \frac{a+b}{2}": "xᵢⱼ ≤ (a+b)/2",
    r"\sum_{i=1}^{n} i = \frac{n(n+1)}{2}": "∑ᵢ₌₁ⁿ i = (n(n+1))/2",
    r"\sqrt{x} + \sqrt[3]{x-1}": "√x + ∛(x−1)",
    r"e^{i\pi} + 1 = 0": "e^(iπ) + 1 = 0",
    r"\forall x \in \mathbb{R}: x^2 \ge 0": "∀x ∈ ℝ: x² ≥ 0",
    r"\lim_{x \to 0} \frac{\sin x}{x} = 1": "lim_(x → 0) (sin x)/x = 1",
    r"\hat{y} = \sigma\left(w^T x + b\right)": "ŷ = σ(wᵀ x + b)",
    r"P(A \mid B) = \dfrac{P(B|A)\,P(A)}{P(B)}": "P(A | B) = (P(B|A) P(A))/(P(B))",
    r"f'(x) \approx 3 \times 10^{-4}\text{ per second}": "f′(x) ≈ 3 × 10⁻⁴ per second",
    r"\{a, b\} \subseteq \mathcal{L}": "{a, b} ⊆ ℒ",
    r"\binom{n}{k} \neq 50\%": "C(n, k) ≠ 50%",
    r"\begin{aligned} a &= b \\ c &= d \end{aligned}": "a = b\nc = d",
    r"\begin{pmatrix} 1 & 20 \\ 3 & 4 \end{pmatrix}": "( 1  20 )\n( 3  4  )",
}


@pytest.mark.parametrize("latex", FORMULAS)
def test_a_formula_is_written_in_unicode(latex: str) -> None:
    assert readable(f"\\({latex}\\)", markdown=False).strip() == FORMULAS[latex]


def test_formulas_are_told_from_prices_and_code_and_unknown_ones_stay() -> None:
    same = (
        "It costs $5 and $10, or $5-$10; a$b$c.",
        "Say `$x^2$` or\n```\n$x^2$\n```\nthere.",
        r"\(\unknown{x}\)",
        r"$\frac{a}$",
        "$x^{2$",
        "Half a fence\n```\n$x^2$",
    )
    for text in same:
        assert readable(text, markdown=False) == text
    assert readable(r"So \(\unknown{x}\).") == r"So `\(\unknown{x}\)`."
    assert readable("Let $x$ be $a_1 * b$, for $$x^2$$ it is.") == "Let x be a₁ \\* b, for \n\nx²\n\n it is."
    assert readable(r"\[\begin{cases} 1 & x>0 \\ 0 & x \le 0 \end{cases}\]") == "\n```\n{ 1  x > 0\n{ 0  x ≤ 0\n```\n"


async def test_formulas_are_legible_and_marks_among_them_still_open_sources(backend: FakeBackend) -> None:
    def formula(asked: Ask) -> Iterator[TurnEvent]:
        text = "The load is $F = m \\cdot g^2$ [1]."
        at = text.index("[1]")
        one = replace(CITATIONS[0], answer_start=at, answer_end=at + 3)
        yield Completed(replace(answer(asked), answer=text, citations=(one,)))

    backend.script = formula
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await ask(pilot)
        view = app.query_one(Conversation).views[0]
        (paragraph,) = view.query("MarkdownParagraph")
        shown = str(paragraph._content)  # type: ignore[attr-defined]
        assert shown == "The load is F = m · g² [1]."
        assert "$F" in view.said, "what is copied is as it was written"
