"""The rules of a .gitignore, matched in time that no line can stretch. Knows no files.

pathspec makes a regular expression of each line, and one of many stars has it try every way to share out a name among
them. A star may stop at the first place where what follows it fits: if the rest fits after a later one, it fits after
this one, too. `(?>...)` says so.
"""

import re
from collections.abc import Sequence

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

# As pathspec writes them; what stands in a line itself is escaped, and no `[...]` holds a slash.
_STAR = "[^/]*"
_FOLDERS = "(?:/.+)?"

_LONGEST = 4096
"""Characters of a line, as many as a path may have: a million of stars would take a gigabyte to compile."""


class _Rule(GitIgnoreSpecPattern):
    """A line of the file; one that means nothing holds no rule, as in git."""

    @classmethod
    def pattern_to_regex(cls, pattern: str) -> tuple[str | None, bool | None]:  # type: ignore[override]  # no bytes
        try:
            regex, include = super().pattern_to_regex(pattern)
            if regex is None:
                return None, None
            re.compile(regex)
        except (ValueError, re.error):
            return None, None
        return _without_retries(regex), include


def ignore_rules(lines: Sequence[str]) -> GitIgnoreSpec:
    """The rules that `lines` hold; one that is longer than any path holds none."""
    return GitIgnoreSpec.from_lines([line for line in lines if len(line) <= _LONGEST], _Rule, backend="simple")


def _without_retries(regex: str) -> str:
    """`regex`, with all stars of a name but its last, and all `**` of a path but its last, tried at one place only."""
    first, *blocks = regex.split(_FOLDERS)
    folders = [rf"(?>(?:/.+?)??{_names(block)}(?=/))" for block in blocks[:-1]]
    return "".join([_names(first), *folders, *(_FOLDERS + _names(block) for block in blocks[-1:])])


def _names(regex: str) -> str:
    first, *parts = regex.split(_STAR)
    return first + "".join(
        f"(?>{_STAR}?{part})" if number < len(parts) and "/" not in part.replace("[^/]", "") else _STAR + part
        for number, part in enumerate(parts, start=1)
    )
