"""The same weights under another configuration: what YaRN, say, is worth is measured by leaving it out."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.errors import BadInput
from model.files import read_object


@contextmanager
def variant(folder: Path, changes: Sequence[str]) -> Iterator[Path]:
    """A passing folder with links to the files of the checkpoint in `folder`, and a changed `config.json`.

    A change is `KEY=VALUE`, a dot leading into an object; the value is JSON, else text.

    :raises BadInput: a change has no key, or leads into something that is no object.
    """
    config = read_object(folder / "config.json")
    for change in changes:
        key, separator, text = change.partition("=")
        if not key or not separator:
            raise BadInput(f"{change!r} changes nothing.", "Write KEY=VALUE, as in rope_scaling=null.")
        *outer, last = key.split(".")
        place: Any = config
        for name in outer:
            place = place.get(name) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise BadInput(f"{folder / 'config.json'} has no object {'.'.join(outer)}.", "Set it as a whole, as JSON.")
        try:
            place[last] = json.loads(text)
        except ValueError:
            place[last] = text
    with tempfile.TemporaryDirectory() as made:
        for file in folder.absolute().iterdir():
            if file.name != "config.json":
                (Path(made) / file.name).symlink_to(file)
        (Path(made) / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        yield Path(made)
