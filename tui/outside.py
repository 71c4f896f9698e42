"""Programs of the user's own: an editor or a pager that takes the terminal for a while, and the desktop's viewer.

What they are given is kept from the disk where it can be: a pager reads a pipe, an editor's file is in memory where
there is such a folder, closed to others, and gone afterwards.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from app.errors import BadInput
from tui.controls import without_controls

_EDITORS = ("nano", "vim", "vi")
"""Tried where none is named, the easiest to leave first."""
_TAKES_LINE = frozenset({"less", "more", "most"})
"""Pagers that open at a line given as `+N`."""


def edited(text: str) -> str:
    """The text as the user's editor leaves it.

    :raises BadInput: there is no editor, or it failed.
    """
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    command = _command(named or next(filter(shutil.which, _EDITORS), _EDITORS[0]), "EDITOR")
    memory = os.environ.get("XDG_RUNTIME_DIR", "")
    with tempfile.TemporaryDirectory(
        prefix="loci-", dir=memory if Path(memory).is_dir() and memory else None
    ) as folder:
        file = Path(folder) / "question.md"
        file.write_text(text, encoding="utf-8")
        done = subprocess.run([*command, str(file)], check=False)
        if done.returncode:
            raise BadInput(f"{command[0]} ended with {done.returncode}.", "The question is as it was.")
        return file.read_text("utf-8").removesuffix("\n")


def paged(text: str, line: int) -> None:
    """Show a text in the user's pager, at a line counted from 1 where the pager can.

    :raises BadInput: there is no pager.
    """
    command = _command(os.environ.get("PAGER") or "less", "PAGER")
    at = [f"+{line}"] if Path(command[0]).name in _TAKES_LINE else []
    plain = without_controls(text)
    subprocess.run([*command, *at], input=plain.encode(), check=False)


def viewed(path: str) -> None:
    """Open a file with what the desktop has for it, and do not wait.

    :raises BadInput: the file is gone, or there is no desktop.
    """
    if not Path(path).exists():
        raise BadInput(f"{path} is not there.", "v shows the text that was read from it.")
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    seen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not seen or shutil.which(opener) is None:
        raise BadInput("There is no desktop here to open a file.", "v shows its text in a pager.")
    quiet = subprocess.DEVNULL
    subprocess.Popen([opener, path], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def _command(line: str, variable: str) -> list[str]:
    words = shlex.split(line)
    if not words or shutil.which(words[0]) is None:
        raise BadInput(f"There is no program {line!r}.", f"Set {variable}, as in export {variable}=vim.")
    return words
