"""Which of several sums or shares in a sentence a name of the question goes with."""

from app.answer_types import Span, spans
from app.sentences import Range, stem, word_ranges
from app.units import hard_words


def amount_named(question: str, text: str, unit: Range, span: Span) -> Span:
    """`span`, or where it is or holds one of several sums or shares of its sentence, the one before the first name that
    the question and the sentence share: of "140, and 190 in London and Zurich" Zurich goes with 190.

    A name before all of them, such as the subject, goes with each.
    """
    amounts = sorted(
        (one for one in spans(text, unit) if one.kind in ("money", "percent")), key=lambda one: (one.start, one.end)
    )
    own = next((one for one in amounts if span.start <= one.start and one.end <= span.end), None)
    names = hard_words(question)
    places = [unit[0] + a for a, b in word_ranges(text[slice(*unit)]) if stem(text[unit[0] + a : unit[0] + b]) in names]
    before = [one for one in amounts if places and one.end <= places[0]]
    return before[-1] if own is not None and before and before[-1] != own else span
