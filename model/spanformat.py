"""The one textual form in which the embedded model is asked and answers: it is trained on it and scored with it.

The question stands before the passages, so that reading them can already look for it, and again after them. Passages
are whatever is to be chosen among, paragraphs or single sentences, numbered from 1. An answer is the number of a
passage and the span of it that answers; number 0 means that no passage does. The line end belongs to an answer: with
it, the sum of log-probabilities compares spans of different lengths.
"""

from collections.abc import Sequence

MAX_PASSAGES = 9
"""Passages in a prompt, so that each number is one digit and one token."""

BEGIN = "<|begin|>"
"""The embedded model's first token; every text that it was trained on begins so."""

NOT_FOUND = " [0] not found\n"
"""The continuation which says that no passage supports an answer."""


def one_line(text: str) -> str:
    """`text` on one line and without special tokens, so that no passage can imitate the form around it."""
    return " ".join(text.split()).replace("<|", "< |")


def span_prompt(question: str, passages: Sequence[str]) -> str:
    """The prompt that asks `question` of at most `MAX_PASSAGES` passages."""
    if len(passages) > MAX_PASSAGES:
        raise ValueError(f"at most {MAX_PASSAGES} passages fit one prompt, not {len(passages)}")
    asked = f"Question: {one_line(question)}\n"
    numbered = "".join(f"[{number}] {one_line(passage)}\n" for number, passage in enumerate(passages, 1))
    return f"{BEGIN}{asked}{numbered}{asked}Answer:"


def answer_continuation(passage: int, span: str) -> str:
    """The continuation which answers with `span` of passage number `passage` (from 1)."""
    return f"{passage_continuation(passage)} {one_line(span)}\n"


def passage_continuation(passage: int) -> str:
    """The beginning of every answer from passage number `passage`; for 0, of `NOT_FOUND`.

    Scores of these for 0..n are a distribution over "none" and the passages, from one reading of the prompt.
    """
    return f" [{passage}]"


def parse_answer(text: str) -> tuple[int, str]:
    """Passage number and span of a generated continuation; (0, "") for a refusal or for anything malformed."""
    head, _, span = text.strip().partition("\n")[0].partition("] ")
    number = head.removeprefix("[")
    if not (head.startswith("[") and number.isascii() and number.isdecimal()) or number == "0":
        return 0, ""
    return int(number), span.strip()
