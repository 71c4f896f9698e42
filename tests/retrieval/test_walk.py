"""Which files an ingest takes."""

import os
import sys
from pathlib import Path
from threading import Thread

import pytest

from retrieval.errors import NoSuchPath
from retrieval.walk import walk


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("text")


def found(root: Path, *starts: str) -> list[str]:
    return [path.relative_to(root).as_posix() for path in walk([root / start for start in starts] or [root])]


def test_files_come_sorted_and_once(tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a/z.txt", "a/c.txt", "c.txt")
    assert found(tmp_path) == ["a/c.txt", "a/z.txt", "b.txt", "c.txt"]
    assert found(tmp_path, "b.txt", ".", "a") == ["b.txt", "a/c.txt", "a/z.txt", "c.txt"]


def test_hidden_entries_are_left_out_unless_named(tmp_path: Path) -> None:
    make(tmp_path, ".hidden.txt", ".git/config", "a.txt")
    assert found(tmp_path) == ["a.txt"]
    assert found(tmp_path, ".hidden.txt") == [".hidden.txt"]
    assert found(tmp_path, ".git") == [".git/config"]


def test_ignore_files_hold_at_every_level_and_the_inner_one_decides(tmp_path: Path) -> None:
    make(tmp_path, "a.log", "keep.txt", "build/x.txt", "sub/a.log", "sub/b.log", "sub/deep/only.txt", "sub/deep/no.txt")
    (tmp_path / ".gitignore").write_text("*.log\nbuild/\n")
    (tmp_path / "sub/.gitignore").write_text("!b.log\n")
    (tmp_path / "sub/deep/.lociignore").write_text("/no.txt\n")
    assert found(tmp_path) == ["keep.txt", "sub/b.log", "sub/deep/only.txt"]


def test_lociignore_has_the_last_word_over_gitignore(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.txt")
    (tmp_path / ".gitignore").write_text("*.txt\n")
    (tmp_path / ".lociignore").write_text("!a.txt\n")
    assert found(tmp_path) == ["a.txt"]


def test_a_named_file_is_taken_though_ignored(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    (tmp_path / ".gitignore").write_text("*\n")
    assert found(tmp_path) == []
    assert found(tmp_path, "a.txt") == ["a.txt"]


def test_rules_of_the_repository_above_hold_in_a_named_folder(tmp_path: Path) -> None:
    make(tmp_path, ".git/HEAD", "docs/a.md", "docs/_build/a.html", "_build/b.html")
    (tmp_path / ".gitignore").write_text("_build/\n")
    assert found(tmp_path, "docs") == ["docs/a.md"]
    assert found(tmp_path, "_build") == ["_build/b.html"], "a folder named by the user is taken though ignored"


def test_links_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "tree/a.txt", "tree/sub/b.txt", "outside/secret.txt")
    (tmp_path / "tree/out").symlink_to(tmp_path / "outside")
    (tmp_path / "tree/out.txt").symlink_to(tmp_path / "outside/secret.txt")
    (tmp_path / "tree/sub/cycle").symlink_to(tmp_path / "tree")
    assert found(tmp_path, "tree") == ["tree/a.txt", "tree/sub/b.txt"]
    (tmp_path / "named").symlink_to(tmp_path / "tree")
    assert found(tmp_path, "named") == ["named/a.txt", "named/sub/b.txt"]


def test_folders_may_stand_in_each_other_deeper_than_pythons_stack(tmp_path: Path) -> None:
    deepest = tmp_path / "/".join("a" * 600)
    os.makedirs(deepest)  # noqa: PTH103  as deep as pytest can remove; Path.mkdir cannot make it
    (deepest / "deep.txt").write_text("text")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(500)
    try:
        assert [path.name for path in walk([tmp_path])] == ["deep.txt"]
    finally:
        sys.setrecursionlimit(limit)


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "pipe")
    assert found(tmp_path) == ["a.txt"]


def test_an_ignore_file_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    pipe = tmp_path / ".gitignore"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_text, args=("a.txt",))
    writer.start()
    assert found(tmp_path) == ["a.txt"]
    assert pipe.read_text() == "a.txt"  # the writer has been waiting for that
    writer.join()


def test_a_missing_path_is_named_before_anything_is_walked(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    with pytest.raises(NoSuchPath, match=r"gone\.txt does not exist"):
        walk([tmp_path, tmp_path / "gone.txt"])


def test_a_folder_that_cannot_be_opened_is_given_so_that_it_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a.txt", "locked/b.txt")
    real = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert found(tmp_path) == ["a.txt", "locked"]
