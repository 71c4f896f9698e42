"""Prompt lookup: what followed the last tokens when they stood earlier in the text is drafted to follow again.

Answers that quote their sources repeat them word for word (Saxena 2023, prompt lookup decoding). Knows nothing about
models; drafts are judged by whoever asks for them.
"""

from collections.abc import Sequence

_LONGEST, _SHORTEST = 4, 3
"""Tokens that must be the same; shorter runs foretell little."""


class Lookup:
    """An index over a growing sequence of tokens."""

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        """Where the tokens after a run begin, at its latest place but the end."""
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        at = len(self._tokens)
        for length in range(_SHORTEST, min(_LONGEST, at) + 1):  # runs that end before this token
            self._after[tuple(self._tokens[at - length :])] = at
        self._tokens.append(token)

    def draft(self, most: int) -> list[int]:
        """At most `most` tokens that may come next; none where the last ones are new."""
        for length in range(min(_LONGEST, len(self._tokens)), _SHORTEST - 1, -1):
            start = self._after.get(tuple(self._tokens[-length:]))
            if start is not None:
                return self._tokens[start : start + most]
        return []
