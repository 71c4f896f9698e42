"""Does a text that was handed over answer the question? A probability from what its words and its whole mean, and from
how sure the choice of a span in it is.

    question tokens against text      how well each finds its like (late interaction, Khattab and Zaharia, 2020)
    the two words that find least     the same of these: what is only near lacks a word or two ("in January")
    question against text             cosine
    question against title            cosine: a question that only names the subject is near any text on it
    the kind of thing asked for       whether the text holds any such: a date, an amount, a name

The text is read below its title. A logistic over the five, fitted on CLAP NQ's development questions with the embedded
embedder. Of a text on many things, such as a lease, they tell little and the choice tells much: half its log-odds are
added. The intercept is then moved so that the threshold of the settings refuses a fifth of the answerable questions.
"""

import math

from app.answer_types import has_kind, wanted
from app.sentences import STOP_WORDS, sentences, word_ranges
from app.shelf import Library, Shelf
from app.spans import logistic
from retrieval.types import Passage

_WEIGHTS = (2.21, 4.03, 10.87, -5.26, 2.09)
"""Of tokens, words that find least, whole, title and kind."""
_LEAST = 2
_CHOICE = 0.5
_INTERCEPT = -9.42
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
    odds = math.log(choice / (1 - choice))
    score = sum(weight * value for weight, value in zip(_WEIGHTS, found, strict=True))
    return logistic(score + _CHOICE * odds + _INTERCEPT)


def around(text: str, passage: Passage) -> str:
    """The passage and what stands before it in `text`, then after it, as far as is read."""
    start = max(passage.end - _READ, 0)
    return text[min(start, passage.start) :][:_READ]


def evidence(question: str, title: str, text: str, library: Library) -> tuple[float, ...] | None:
    """The features, in the order of `_WEIGHTS`; None if the embedder has no vectors of single tokens."""
    whole = f"{title}\n{text}"
    telling = [(a, b) for a, b in word_ranges(question) if question[a:b].casefold() not in STOP_WORDS]
    found = library.match(question, [(0, len(question)), *telling], [whole])
    if found is None:
        return None
    tokens, *words = found[0].tolist()
    least = sorted(words)[:_LEAST] or [tokens]
    asked, read, named = library.embed([question, whole, title])
    sought = wanted(question)
    kind = any(has_kind(text[a:b], sought) for a, b in sentences(text))
    return tokens, sum(least) / len(least), float(asked @ read), float(asked @ named), float(kind)
