"""Libraries of the tests, and what they hold."""

from pathlib import Path

from retrieval.embedder import Embedder
from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from retrieval.sqlite import reading
from tests.fakes import FakeEmbedder


def opened(folder: Path, embedder: Embedder | None = None, **settings: object) -> Library:
    chosen = embedder or FakeEmbedder()
    return Library(folder / "data", folder / "cache", RetrievalSettings(**settings), lambda: chosen)


def statuses(results: list) -> dict[str, str]:
    return {Path(result.path).name: result.status for result in results}


def contents(library: Library) -> list[tuple]:
    with reading(library.engine) as db:
        return [
            tuple(row)
            for row in db.exec_driver_sql(
                'SELECT d.path, e.sha256, c.start, c."end", c.line, c.vector FROM chunks c JOIN documents d ON '
                "d.id = c.document JOIN extractions e ON e.document = d.id ORDER BY d.path, c.start"
            )
        ]


def many(folder: Path) -> None:
    (folder / "files").mkdir()
    for number in range(12):
        (folder / "files" / f"{number:02}.txt").write_text(f"Document {number}. " + f"Words of number {number}. " * 30)
