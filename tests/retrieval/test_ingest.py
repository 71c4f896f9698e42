"""Documents in: what is new, what fails, and what is stored when something ends it."""

import os
from pathlib import Path

import pytest

from retrieval.batches import BATCH, is_batch
from retrieval.errors import DatabaseProblem
from retrieval.ingest import Progress, estimate, ingest
from retrieval.library import Library
from retrieval.sqlite import writing
from tests.fakes import FakeEmbedder
from tests.retrieval.libraries import contents, many, opened, statuses


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


def test_what_may_not_be_looked_at_is_not_taken_for_gone(
    library: Library, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(library, [files])
    exists = Path.exists

    def locked(path: Path) -> bool:
        if path.name == "boats.md":
            raise PermissionError
        return exists(path)

    (files / "birds.txt").unlink()
    monkeypatch.setattr(Path, "exists", locked)
    assert statuses(ingest(library, [files], prune=True)) == {"boats.md": "unchanged", "birds.txt": "removed"}


def test_a_look_tells_which_files_are_not_as_they_were_read(library: Library, files: Path) -> None:
    (files / "note.eml").write_text("From: a@b.org\nSubject: Nets\n\nThe nets are dry.")
    ingest(library, [files])
    ids = {Path(one.path).name: one.id for one in library.documents()}
    assert library.drifted(ids.values()) == {}
    boats = (files / "boats.md").read_text()
    os.utime(files / "boats.md", (1, 1))
    assert library.drifted(ids.values()) == {}, "it was copied back, or touched"
    (files / "boats.md").write_text(boats.swapcase())
    assert library.drifted(ids.values()) == {ids["boats.md"]: "changed"}
    (files / "birds.txt").unlink()
    (files / "boats.md").write_text("The ferry is gone.")
    (files / "note.eml").unlink()
    assert library.drifted(ids.values()) == {ids["birds.txt"]: "gone", ids["boats.md"]: "changed"}
    assert library.drifted([ids["birds.txt"]]) == {ids["birds.txt"]: "gone"}
    ingest(library, [files])
    assert library.drifted(ids.values()) == {ids["birds.txt"]: "gone"}


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
