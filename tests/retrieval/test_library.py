import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.batches import BATCH, is_batch
from retrieval.embedder import Embedder
from retrieval.errors import DatabaseProblem, EmbedderMismatch, LibraryChanged, NoSuchDocument
from retrieval.ingest import Progress, estimate, ingest
from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from retrieval.sqlite import reading, writing
from tests.fakes import FakeEmbedder

ROOT = Path(__file__).parents[2]


def opened(folder: Path, embedder: Embedder | None = None, **settings: object) -> Library:
    chosen = embedder or FakeEmbedder()
    return Library(folder / "data", folder / "cache", RetrievalSettings(**settings), lambda: chosen)


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    found = opened(tmp_path)
    yield found
    found.close()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "boats.md").write_text(
        "# Boats\n\nThe ferry Aurora leaves at nine.\n\n## Prices\n\nA ticket is 12 crowns.\n"
    )
    (folder / "birds.txt").write_text("Puffins nest on the northern cliff.\nGulls nest everywhere.\n")
    return folder


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


def test_a_passage_is_its_document_character_by_character(library: Library, files: Path) -> None:
    assert statuses(ingest(library, [files])) == {"birds.txt": "added", "boats.md": "added"}
    best = library.search("What does a ticket cost in crowns?", collections=["main"])[0]
    assert best.text.endswith("A ticket is 12 crowns.")
    assert library.text(best.document)[best.start : best.end] == best.text
    assert best.locator.section == "Boats › Prices"
    assert library.locate(best.document, best.end - 5, best.end).line == 7
    assert 0 < best.score <= 1
    assert library.check() == []


@pytest.mark.parametrize(
    "text", ["one two three four five six seven eight nine ten.\n\n" * 30, "x" * 5000], ids=["many", "long"]
)
def test_a_file_of_too_many_passages_is_refused_with_its_reason_and_the_rest_goes_on(
    tmp_path: Path, files: Path, text: str
) -> None:
    library = opened(tmp_path, chunk_tokens=32, max_chunks=8)
    (files / "a.txt").write_text(text)
    results = ingest(library, [files])
    assert statuses(results) == {"a.txt": "failed", "birds.txt": "added", "boats.md": "added"}
    (reason,) = [result.reason for result in results if result.reason]
    assert "a.txt" in reason and "8" in reason and "retrieval.max_chunks" in reason
    library.close()
    library = opened(tmp_path, chunk_tokens=32, max_chunks=200)
    assert statuses(ingest(library, [files]))["a.txt"] == "added"
    library.close()


def test_an_unchanged_folder_embeds_nothing_and_a_changed_file_replaces_its_passages(
    library: Library, files: Path
) -> None:
    ingest(library, [files])
    embedder = library.embedder
    assert isinstance(embedder, FakeEmbedder)
    before, epoch = embedder.encoded, library.epoch()
    assert set(statuses(ingest(library, [files])).values()) == {"unchanged"}
    os.utime(files / "birds.txt", (1, 1))
    assert set(statuses(ingest(library, [files])).values()) == {"unchanged"}
    assert (embedder.encoded, library.epoch()) == (before, epoch)
    old = library.document("birds.txt")
    (files / "birds.txt").write_text("Terns nest on the beach.\n")
    assert statuses(ingest(library, [files])) == {"birds.txt": "updated", "boats.md": "unchanged"}
    assert library.document("birds.txt").id == old.id
    assert all("Puffins" not in found.text for found in library.search("puffins cliff", collections=["main"]))
    assert library.epoch() > epoch
    assert library.check() == []


def test_a_moved_file_keeps_its_passages_and_a_deleted_one_leaves_when_asked(library: Library, files: Path) -> None:
    ingest(library, [files])
    embedder = library.embedder
    assert isinstance(embedder, FakeEmbedder)
    before, id = embedder.encoded, library.document("birds.txt").id
    (files / "sub").mkdir()
    (files / "birds.txt").rename(files / "sub" / "fowl.txt")
    assert statuses(ingest(library, [files])) == {"boats.md": "unchanged", "fowl.txt": "moved"}
    assert library.document("sub/fowl.txt").id == id
    assert embedder.encoded == before
    (files / "boats.md").unlink()
    ingest(library, [files])
    assert len(library.documents()) == 2
    library.pin("boats.md", True)
    ingest(library, [files], prune=True)
    assert len(library.documents()) == 2
    library.pin("boats.md", False)
    assert statuses(ingest(library, [files], prune=True)) == {"fowl.txt": "unchanged", "boats.md": "removed"}
    assert library.search("ferry", collections=["main"])[0].title == "fowl"


def test_nothing_of_one_collection_is_found_in_another(library: Library, files: Path) -> None:
    (files.parent / "secret.txt").write_text("The ferry Aurora is for sale, says the secret ledger.\n")
    ingest(library, [files])
    ingest(library, [files.parent / "secret.txt"], collection="private")
    assert library.collections() == ["main", "private"]
    for query in ("secret ledger", "ferry Aurora sale", "puffins"):
        for scope in ("main", "private"):
            assert {found.collection for found in library.search(query, collections=[scope])} == {scope}
    assert library.search("secret", collections=[]) == []
    both = library.search("ferry Aurora", collections=["main", "private"])
    assert {found.collection for found in both} == {"main", "private"}


def test_the_bounds_hold_before_the_ranking_is_cut(tmp_path: Path) -> None:
    library = opened(tmp_path, candidates=10)
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(30):
        (folder / f"near{number:02}.txt").write_text("ferry Aurora ferry Aurora")
    (folder / "far.txt").write_text("the ferry once, among many other words about gulls and terns")
    ingest(library, [folder])
    found = library.search("ferry Aurora", collections=["main"], documents=[library.document("far.txt").id])
    assert [Path(item.path).name for item in found] == ["far.txt"]
    library.close()


def test_a_pinned_epoch_does_not_see_what_came_later_and_says_when_something_left(
    library: Library, files: Path
) -> None:
    ingest(library, [files])
    epoch = library.epoch()
    (files / "new.txt").write_text("A new ferry called Borealis.")
    ingest(library, [files])
    assert any("Borealis" in item.text for item in library.search("Borealis ferry", collections=["main"]))
    pinned = library.search("Borealis ferry", collections=["main"], epoch=epoch)
    assert pinned
    assert all("Borealis" not in item.text for item in pinned)
    library.remove("birds.txt")
    with pytest.raises(LibraryChanged):
        library.search("ferry", collections=["main"], epoch=epoch)


def test_a_bad_file_is_reported_and_the_rest_is_ingested(library: Library, files: Path) -> None:
    (files / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    (files / "disk.iso").write_bytes(b"\0" * 100)
    results = {Path(result.path).name: result for result in ingest(library, [files])}
    assert results["broken.pdf"].status == "failed"
    assert results["broken.pdf"].reason
    assert results["disk.iso"].status == "skipped"
    assert len(library.documents()) == 2


def test_a_named_pipe_is_refused_without_opening_it(library: Library, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")  # opening it would wait for a writer for ever
    (result,) = ingest(library, [tmp_path / "pipe.txt"])
    assert result.status == "failed" and "regular file" in str(result.reason)


def test_an_estimate_comes_first_and_the_progress_ends_at_all(library: Library, files: Path) -> None:
    expected = estimate(library, [files])
    assert (expected.files, expected.chunks > 0) == (2, True)
    seen: list[Progress] = []
    ingest(library, [files], progress=seen.append)
    assert (seen[-1].files_done, seen[-1].bytes_done) == (2, expected.bytes)
    assert estimate(library, [files]).files == 0


def test_a_document_is_named_by_id_path_or_a_unique_end(library: Library, files: Path) -> None:
    ingest(library, [files])
    ingest(library, [files], collection="other")
    id = library.documents(["main"])[0].id
    assert library.document(id).id == id
    with pytest.raises(NoSuchDocument, match="names 2 documents"):
        library.document("boats.md")
    with pytest.raises(NoSuchDocument, match="No document"):
        library.document("oats.md")


def test_a_text_that_is_compared_with_several_questions_is_embedded_once(tmp_path: Path) -> None:
    embedder = FakeEmbedder()
    library = opened(tmp_path, embedder)
    texts = ["The ferry leaves at nine.", "Gulls nest everywhere.", "The ferry leaves at nine."]
    for question in ("When does the ferry leave?", "Where do gulls nest?"):
        assert np.array_equal(library.embed([question, *texts]), FakeEmbedder().encode([question, *texts]))
    assert embedder.encoded == 4
    assert library.embed([]).shape == (0, 64)
    for number in range(3000):
        library.embed([f"question {number}"])
    assert len(library._embedded) <= 2048
    library.close()


def test_another_embedder_is_refused_by_name_until_reindexed(tmp_path: Path, files: Path) -> None:
    first = opened(tmp_path)
    ingest(first, [files])
    first.close()
    second = opened(tmp_path, FakeEmbedder("other", dimension=32))
    with pytest.raises(EmbedderMismatch, match=r"fake.*other.*loci library reindex"):
        second.search("ferry", collections=["main"])
    (files / "new.txt").write_text("more")
    with pytest.raises(EmbedderMismatch):
        ingest(second, [files])
    second.reindex()
    assert "ferry" in second.search("ferry", collections=["main"])[0].text
    assert second.check() == []
    second.close()


def test_the_old_embedder_answers_until_the_new_one_has_embedded_every_document(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.batches.BATCH", 1)
    old, new = opened(tmp_path), opened(tmp_path, FakeEmbedder("other", dimension=32))
    ingest(old, [files])
    meanwhile: list[str] = []
    new.reindex(lambda done, total: meanwhile.append(old.search("ferry Aurora", collections=["main"])[0].text))
    assert len(meanwhile) == 2 and all("ferry" in text for text in meanwhile)
    assert "ferry" in new.search("ferry Aurora", collections=["main"])[0].text
    with pytest.raises(EmbedderMismatch, match=r"other.*fake"):
        old.search("ferry Aurora", collections=["main"])
    old.close()
    new.close()


def test_documents_are_embedded_in_no_small_batches_and_stored_before_they_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.batches.BATCH", 5)
    many(tmp_path)
    embedder, sizes = FakeEmbedder(), list[int]()
    encode = embedder.encode
    embedder.encode = lambda texts: (sizes.append(len(texts)), encode(texts))[1]  # type: ignore[method-assign]  # a spy
    library = opened(tmp_path, embedder)

    def check(progress: Progress) -> None:
        assert len(library.documents()) >= progress.files_done

    found = ingest(library, [tmp_path / "files"], progress=check)
    passages = sum(result.chunks for result in found)
    assert len(found) == 12 and sum(sizes) == passages and min(sizes[:-1]) >= 5 and len(sizes) < passages / 4
    before = contents(library)
    sizes.clear()
    library.reindex()
    assert sum(sizes) == passages and min(sizes[:-1]) >= 5 and len(sizes) < passages / 4
    assert contents(library) == before
    library.close()


def test_a_document_removed_while_others_are_embedded_anew_is_left_out(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.batches.BATCH", 1)
    library = opened(tmp_path)
    first, last = (info.id for _ in [ingest(library, [files])] for info in library.documents())
    library.reindex(lambda done, total: done < total and library.remove(last))
    assert [info.id for info in library.documents()] == [first] and contents(library)
    library.close()


def test_a_document_that_changes_while_it_is_embedded_anew_is_embedded_as_it_is_then(
    tmp_path: Path, files: Path
) -> None:
    class Meddled(FakeEmbedder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            if meddle:
                meddle.pop()()
            return super().encode(texts)

    def change() -> None:
        (files / "boats.md").write_text("The ferry Aurora is laid up.")
        ingest(library, [files])

    meddle = list[Callable[[], None]]()
    library = opened(tmp_path, Meddled())
    ingest(library, [files])
    meddle.append(change)
    library.reindex()
    boats = next(info.id for info in library.documents() if info.path.endswith("boats.md"))
    [now] = [one for one in library.search("ferry Aurora", collections=["main"]) if one.document == boats]
    assert now.text == library.text(boats) == "The ferry Aurora is laid up."
    library.close()


def test_documents_without_passages_are_stored_in_batches_too() -> None:
    assert not is_batch([[]] * (BATCH - 1)) and is_batch([[]] * BATCH)


def test_an_interrupt_keeps_what_was_stored_and_the_next_run_does_the_rest(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.batches.BATCH", 1)
    library = opened(tmp_path)

    def stop(progress: Progress) -> None:
        if progress.files_done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(library, [files], progress=stop)
    assert (len(library.documents()), library.check()) == (1, [])
    assert sorted(statuses(ingest(library, [files])).values()) == ["added", "unchanged"]
    library.close()


def test_a_full_disk_is_an_error_and_what_was_stored_stays(library: Library, files: Path) -> None:
    ingest(library, [files])
    with writing(library.engine) as db:
        db.exec_driver_sql(f"PRAGMA max_page_count={db.exec_driver_sql('PRAGMA page_count').scalar()}")
    (files / "long.txt").write_text("many words about harbour dues " * 20_000)
    with pytest.raises(DatabaseProblem, match="disk is full"):
        ingest(library, [files])
    assert (len(library.documents()), library.check()) == (2, [])


def test_a_lost_full_text_index_is_found_and_rebuilt(library: Library, files: Path) -> None:
    ingest(library, [files])
    with writing(library.engine) as db:
        db.exec_driver_sql("DELETE FROM chunks_fts WHERE rowid = 1")
    assert "full-text" in library.check()[0]
    library.check(fix=True)
    assert library.check() == []


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


def many(folder: Path) -> None:
    (folder / "files").mkdir()
    for number in range(12):
        (folder / "files" / f"{number:02}.txt").write_text(f"Document {number}. " + f"Words of number {number}. " * 30)


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
