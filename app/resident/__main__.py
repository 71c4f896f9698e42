"""The resident's process, from its start to its end."""

import faulthandler
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from app.answer import Profile
from app.resident.place import Place

if TYPE_CHECKING:
    from app.settings import Settings

_LOCKED_WITHIN = 1.0
"""Seconds to wait for a lock that is only looked at; who loses against another resident ends."""

_FIRST_TO_DIE = "500"
"""Where memory runs out, the resident goes before the door that can tell of it (proc(5), oom_score_adj)."""


def main(name: str, data: str, cache: str, config: str, runtime: str, identity: str) -> int:
    place = Place(Path(runtime))
    end = time.monotonic() + _LOCKED_WITHIN
    while (lock := place.lock()) is None:
        if time.monotonic() > end:
            return 0
        time.sleep(0.01)
    with suppress(OSError):
        os.truncate(place.log, 0)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_DIE, "ascii")
    faulthandler.enable()  # on stderr, which is the log
    from app.resident.server import serve  # with pydantic, 0.3 s: who loses the lock need not wait for it
    from app.workspace import Workspace
    from retrieval.cipher import Key

    workspace = Workspace(Profile(name, Path(data), Path(cache), Path(config)))
    if secret := sys.stdin.buffer.read():
        workspace.keys.add(Key(secret))
        _ = workspace.key  # while the door waits: one that is not the profile's ends here
    workspace.settings = _anchored(workspace.settings)
    os.chdir("/")  # whose folder this is may want to remove or unmount it
    serve(workspace, place, identity, lock)
    return 0


def _anchored(settings: "Settings") -> "Settings":
    """The settings with the embedder's folder as it reads in the door's folder; models are told with each order."""
    folder = Path(settings.retrieval.embedder)
    if folder.is_absolute() or not folder.is_dir():
        return settings
    retrieval = settings.retrieval.model_copy(update={"embedder": str(folder.absolute())})
    return settings.model_copy(update={"retrieval": retrieval})


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))  # all is closed; libraries that tidy up would keep their memory for a second more
