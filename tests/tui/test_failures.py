from pathlib import Path

import pytest

from tui.failures import Failure, failure_of


def test_a_file_that_cannot_be_used_is_named_without_where_python_found_it(tmp_path: Path) -> None:
    file = tmp_path / "none" / "notes.md"
    with pytest.raises(OSError) as caught:
        file.write_text("")
    assert failure_of(caught.value) == Failure("A file cannot be used", f"{file}: No such file or directory.", "")


def test_what_nobody_foresaw_is_told_with_its_place() -> None:
    try:
        raise KeyError("tide")
    except KeyError as error:
        told = failure_of(error)
    assert "KeyError: 'tide' (test_failures.py, line" in told.message and "loci doctor" in told.mend
