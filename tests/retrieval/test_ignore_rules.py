"""What the lines of a .gitignore leave out, and in what time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from retrieval.ignore_rules import ignore_rules

PATHS = st.lists(st.text("ab.", min_size=1, max_size=5), min_size=1, max_size=5).map("/".join)
SEGMENTS = st.sampled_from(
    ["**", "*", "a", "b", "a*b", "*a", "*a*b", "a*b*", "*[ab]*?", "*a*b*a", "**a", r"\a*.*", "?*b*"]
)
LINES = st.tuples(
    st.sampled_from(["", "/", "!"]), st.lists(SEGMENTS, min_size=1, max_size=6), st.sampled_from(["", "/"])
).map(lambda parts: parts[0] + "/".join(parts[1]) + parts[2])


@settings(derandomize=True, max_examples=1500, deadline=None)
@given(LINES, PATHS, st.sampled_from(["", "/"]))
def test_a_line_speaks_of_what_pathspec_alone_says(line: str, path: str, end: str) -> None:
    plain = GitIgnoreSpec.from_lines([line], backend="simple").check_file(path + end).include
    assert ignore_rules([line]).check_file(path + end).include == plain


@pytest.mark.parametrize(
    ("line", "path"),
    [
        pytest.param("*a" * 5 + "b", "a" * 150, id="stars of a name"),
        pytest.param("**/a/" * 5 + "b", "a/" * 150 + "c", id="folders"),
        pytest.param("*a?[a-z]" * 5 + "/b", "a" * 150, id="stars with other wildcards"),
        pytest.param("*" * 5000, "a", id="a line that is longer than a path"),
        pytest.param("*a" * 30 + "/**/" + "*a" * 30 + "b", "a" * 100 + "/" + "a" * 100, id="both"),
    ],
)
def test_a_line_of_many_stars_takes_no_time(line: str, path: str) -> None:
    start = time.perf_counter()
    assert ignore_rules([line]).check_file(path).include is None
    assert time.perf_counter() - start < 1


def test_a_line_that_means_nothing_holds_no_rule() -> None:
    rules = ignore_rules(["[z-a]", "!", "ends in a backslash\\", "*.log"])
    assert [rules.check_file(name).include for name in ("z", "a.log")] == [None, True]
