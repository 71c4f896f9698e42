"""What a library finds, and how its documents are named."""

from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import LibraryChanged, NoSuchDocument
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.sqlite import writing
from tests.fakes import FakeEmbedder
from tests.retrieval.libraries import opened, statuses


def test_a_passage_is_its_document_character_by_character(library: Library, files: Path) -> None:
    assert statuses(ingest(library, [files])) == {"birds.txt": "added", "boats.md": "added"}
    best = library.search("What does a ticket cost in crowns?", collections=["main"])[0]
    assert best.text.endswith("A ticket is 12 crowns.")
    assert library.text(best.document)[best.start : best.end] == best.text
    assert best.locator.section == "Boats › Prices"
    assert library.locate(best.document, best.end - 5, best.end).line == 7
    assert 0 < best.score <= 1
    assert library.check() == []


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


def test_a_document_is_named_by_id_path_or_a_unique_end(library: Library, files: Path) -> None:
    ingest(library, [files])
    ingest(library, [files], collection="other")
    id = library.documents(["main"])[0].id
    assert library.document(id).id == id
    with pytest.raises(NoSuchDocument, match="names 2 documents"):
        library.document("boats.md")
    with pytest.raises(NoSuchDocument, match="No document"):
        library.document("oats.md")


def test_only_of_what_is_handed_over_vectors_are_kept(tmp_path: Path) -> None:
    embedder = FakeEmbedder()
    library = opened(tmp_path, embedder)
    texts = ["The ferry leaves at nine.", "Gulls nest everywhere.", "The ferry leaves at nine."]
    for more in ([], ["Terns dive."]):
        assert np.array_equal(library.embed_kept([*more, *texts]), FakeEmbedder().encode([*more, *texts]))
    assert embedder.encoded == 3
    library.embed(texts)  # what a question is answered from is the same whatever was asked before it
    assert embedder.encoded == 6
    assert library.embed_kept([]).shape == (0, 64)
    for number in range(3000):
        library.embed_kept([f"text {number}"])
    assert len(library._kept) <= 2048
    library.close()


def test_a_lost_full_text_index_is_found_and_rebuilt(library: Library, files: Path) -> None:
    ingest(library, [files])
    with writing(library.engine) as db:
        db.exec_driver_sql("DELETE FROM chunks_fts WHERE rowid = 1")
    assert "full-text" in library.check()[0]
    library.check(fix=True)
    assert library.check() == []
