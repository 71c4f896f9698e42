"""Does a text that was handed over answer the question? A probability from what its words and its whole mean, and from
how sure the choice of a span in it is.

    question tokens against the text's     how well each finds its like (late interaction, Khattab and Zaharia, 2020)
    question against the text and title    cosine
    question against the title alone       cosine: a question that only names the subject is near any text on it

A logistic over the three, fitted on every other pair of ClapNQ's development questions (75 answerable, 75 not) with the
embedded embedder; what the embedded model and the rule of `app.spans` say added nothing to it there. Of a text on many
things, such as a lease, the three tell little and the choice tells much: half its log-odds are added. The intercept is
then moved so that the threshold of the settings refuses a fifth of the answerable questions.
"""

import math

from app.shelf import Library, Shelf
from app.spans import logistic
from retrieval.types import Passage

_TOKENS, _WHOLE, _TITLE = 8.69, 9.95, -2.99
_CHOICE = 0.5
_INTERCEPT = -10.29
_READ = 1100
"""Characters of the text around a passage, about what the embedder reads."""


def answerable(question: str, passage: Passage, shelf: Shelf, choice: float) -> float | None:
    """The probability that the text around `passage` answers; None if the embedder has no vectors of single tokens.

    :param choice: the probability that the span which was chosen in it does, above 0 and below 1.
    """
    text = around(shelf.text(passage.document), passage)
    found = evidence(question, passage.title, text, shelf.library)
    if found is None:
        return None
    tokens, whole, title = found
    odds = math.log(choice / (1 - choice))
    return logistic(_TOKENS * tokens + _WHOLE * whole + _TITLE * title + _CHOICE * odds + _INTERCEPT)


def around(text: str, passage: Passage) -> str:
    """The passage and what stands before it in `text`, then after it, as far as is read."""
    start = max(passage.end - _READ, 0)
    return text[min(start, passage.start) :][:_READ]


def evidence(question: str, title: str, text: str, library: Library) -> tuple[float, float, float] | None:
    """The three features: by tokens, of the whole, of the title."""
    tokens = library.match(question, [text])
    if tokens is None:
        return None
    asked, whole, named = library.embed([question, f"{title}\n{text}", title])
    return float(tokens[0]), float(asked @ whole), float(asked @ named)
