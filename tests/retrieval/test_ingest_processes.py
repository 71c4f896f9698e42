"""An ingest that is killed, and two at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from retrieval.ingest import ingest
from tests.retrieval.libraries import contents, many, opened

ROOT = Path(__file__).parents[2]

_CHILD = """
import sys, time
from pathlib import Path
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from tests.fakes import FakeEmbedder
import retrieval.batches
retrieval.batches.BATCH = 2
folder = Path(sys.argv[1])
library = Library(folder / "data", folder / "cache", RetrievalSettings(), FakeEmbedder)
def report(progress):
    print(progress.files_done, flush=True)
    time.sleep(0.01)
ingest(library, [folder / "files"], progress=report)
"""


def child(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def test_kill_9_leaves_whole_documents_and_the_next_run_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    many(tmp_path)
    whole = opened(tmp_path / "whole")
    ingest(whole, [tmp_path / "files"])
    expected = contents(whole)
    whole.close()
    stored = 0
    for moment in (1, 4, 8):
        process = child(tmp_path)
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= moment:
                break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        library = opened(tmp_path)
        assert library.check() == []
        assert len(library.documents()) >= max(stored, moment)
        assert set(contents(library)) <= set(expected)
        stored = len(library.documents())
        library.close()
    library = opened(tmp_path)
    ingest(library, [tmp_path / "files"])
    assert contents(library) == expected
    library.close()


def test_two_processes_ingest_the_same_folder_at_once(tmp_path: Path) -> None:
    many(tmp_path)
    processes = [child(tmp_path), child(tmp_path)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    library = opened(tmp_path)
    assert len(library.documents()) == 12
    assert library.check() == []
    library.close()
