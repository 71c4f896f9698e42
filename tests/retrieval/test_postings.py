"""BM25 from postings against FTS5's own, of which it is the fast twin."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, text

from retrieval.allowed import allowed_ids
from retrieval.epoch_build import Ids
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.postings import Postings, _best
from retrieval.settings import RetrievalSettings
from retrieval.sqlite import reading
from retrieval.types import Passage
from tests.fakes import FakeEmbedder

TEXT = "harbour harbours café naïve running runs boat boating 東京大学 กำแพง über überall sailors quay 12 x"
WORDS = TEXT.split()
EVERY = np.arange(1, 10_000)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("postings")
    write(folder / "files", 200)
    library = Library(folder / "data", folder / "cache", RetrievalSettings(), FakeEmbedder)
    ingest(library, [folder / "files"])
    return library


def write(folder: Path, count: int) -> None:
    folder.mkdir()
    rng = random.Random(folder.name)
    for number in range(count):
        body = " ".join(rng.choices(WORDS, weights=range(1, len(WORDS) + 1), k=rng.randint(1, 200)))
        (folder / f"{rng.choice(WORDS)} {number}.txt").write_text(f"{body} {'two words ' * (number % 7 == 0)}")


def plain(db: Connection, terms: list[str]) -> dict[int, float]:
    query = "SELECT rowid, -bm25(chunks_fts) FROM chunks_fts WHERE chunks_fts MATCH :terms"
    return {row[0]: row[1] for row in db.execute(text(query), {"terms": " OR ".join(terms)})}


def check(db: Connection, postings: Postings, terms: list[str], allowed: Ids, wanted: int) -> None:
    count = text("SELECT count(*) FROM chunks_fts WHERE chunks_fts MATCH :term")
    frequencies = {term: int(db.execute(count, {"term": term}).scalar_one()) for term in terms}
    rows = int(db.execute(text("SELECT count(*) FROM chunks_fts")).scalar_one())
    found = postings.best(db, frequencies, rows, allowed, wanted)
    expected = {id: score for id, score in plain(db, terms).items() if id in set(allowed.tolist())}
    assert list(found.values()) == pytest.approx(sorted(expected.values(), reverse=True)[:wanted], rel=1e-12)
    assert found == pytest.approx({id: expected[id] for id in found}, rel=1e-12)


@pytest.mark.parametrize(
    "terms",
    [
        ['"harbour"'],
        ['"cafe"', '"runs"', '"sailor"'],
        ['"東京"', '"กำ"', '"大"*'],
        ['"boat"*', '"über"*', '"x"'],
        ['"quay"', '"two words"'],
    ],
)
def test_scores_are_those_of_fts5_with_stems_marks_beginnings_and_phrases(library: Library, terms: list[str]) -> None:
    with reading(library.engine) as db:
        postings = Postings().renewed(db)
        for allowed, wanted in ((EVERY, 10_000), (EVERY, 10), (EVERY[::3], 20), (EVERY[-5:], 3)):
            check(db, postings, terms, allowed, wanted)


def test_of_equal_scores_the_first_passages_are_the_best() -> None:
    ids, scores = np.arange(1, 101), np.ones(100)
    scores[40] = 2.0
    assert list(_best(ids, scores, ids, 4)) == [41, 1, 2, 3]
    assert list(_best(ids, scores, np.array([7, 90, 95]), 2)) == [7, 90]


def test_passages_that_come_and_go_count_with_the_next_refresh(library: Library, tmp_path: Path) -> None:
    with reading(library.engine) as db:
        postings = Postings().renewed(db)
    write(tmp_path / "more", 60)
    ingest(library, [tmp_path / "more"])
    for info in library.documents()[:30]:
        library.remove(info.id)
    with reading(library.engine) as db:
        postings = postings.renewed(db)
        check(db, postings, ['"harbour"', '"12"', '"quay"'], EVERY, 50)


def test_a_question_may_have_any_number_of_words(library: Library) -> None:
    with reading(library.engine) as db:
        postings = Postings().renewed(db)
        check(db, postings, ['"harbour"', *(f'"absent{number}"' for number in range(600))], EVERY, 50)


def test_a_search_that_comes_while_another_takes_up_lengths_finds_the_same(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Library(library.folder, library.cache, RetrievalSettings(), FakeEmbedder)
    renewed, others = Postings.renewed, list[list[Passage]]()

    def search() -> list[Passage]:
        return opened.search("harbour quay", collections=["main"])

    def slow(postings: Postings, db: Connection) -> Postings:
        if not others:
            others.append([])
            with ThreadPoolExecutor() as pool:
                others.append(pool.submit(search).result())
        return renewed(postings, db)

    monkeypatch.setattr(Postings, "renewed", slow)
    found = search()
    assert found and others[1] == found
    opened.close()


def test_a_library_that_was_emptied_is_searched(tmp_path: Path) -> None:
    write(tmp_path / "files", 3)
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)
    ingest(library, [tmp_path / "files"])
    for info in library.documents():
        library.remove(info.id)
    assert library.search("harbour", collections=["main"]) == []
    library.close()


def test_a_search_that_began_before_an_ingest_leaves_nothing_to_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("The kestrel lies in the harbour.")
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)
    ingest(library, [tmp_path / "files"])

    def search() -> set[str]:
        return {Path(one.path).stem for one in library.search("harbour", collections=["main"])}

    def overtaken(*bounds: Any) -> Ids:
        monkeypatch.undo()
        (tmp_path / "files" / "b.txt").write_text("A heron stood in the harbour all day.")
        ingest(library, [tmp_path / "files"])
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(search).result() == {"a", "b"}
        return allowed_ids(*bounds)

    monkeypatch.setattr("retrieval.search.allowed_ids", overtaken)
    assert search() == {"a"}
    assert search() == {"a", "b"}
    library.close()
