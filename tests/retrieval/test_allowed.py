from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from retrieval import search
from retrieval.allowed import allowed_ids
from retrieval.documents import epoch_of
from retrieval.epoch_build import Ids
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from retrieval.sqlite import reading, writing
from tests.fakes import FakeEmbedder


def opened(folder: Path) -> Library:
    return Library(folder / "data", folder / "cache", RetrievalSettings(), FakeEmbedder)


def written(folder: Path, names: list[str], paragraphs: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        text = "\n\n".join(
            f"Paragraph {number} of {name}. " + "Gulls nest on it. " * 60 for number in range(paragraphs)
        )
        (folder / f"{name}.txt").write_text(text)
    return folder


def named_one_by_one(db: Connection, condition: str) -> Ids:
    found = db.exec_driver_sql(
        f"SELECT c.id FROM chunks c JOIN documents d ON d.id = c.document WHERE {condition} ORDER BY c.id"
    )
    return np.array(found.scalars().all(), dtype=np.int64)


def test_the_ids_are_those_of_every_passage_asked_for_also_where_some_are_missing_within_a_document(
    tmp_path: Path,
) -> None:
    library = opened(tmp_path)
    ingest(library, [written(tmp_path / "a", ["one", "two", "three"], 4)])
    early = library.epoch()
    ingest(library, [written(tmp_path / "a", ["two"], 6)])  # in place of the old one, with ids beyond the third's
    ingest(library, [written(tmp_path / "b", ["four"], 3)], collection="other")
    with writing(library.engine) as db:
        db.exec_driver_sql("DELETE FROM chunks WHERE id = 2")
    with reading(library.engine) as db:
        everything = allowed_ids(db, ["main", "other"])
        assert len(everything) > 12 and np.array_equal(everything, named_one_by_one(db, "1"))
        assert np.array_equal(allowed_ids(db, ["other"]), named_one_by_one(db, "d.collection = 'other'"))
        assert np.array_equal(allowed_ids(db, ["main"], {1, 2}), named_one_by_one(db, "d.id IN (1, 2)"))
        assert early < epoch_of(db)
        assert np.array_equal(allowed_ids(db, ["main"], epoch=early), named_one_by_one(db, f"c.epoch <= {early}"))
        assert not len(allowed_ids(db, ["nowhere"]))
    library.close()


def test_what_is_said_of_a_passage_is_read_without_the_text_of_its_document(tmp_path: Path) -> None:
    library = opened(tmp_path)
    with reading(library.engine) as db:
        plan = [row[3] for row in db.exec_driver_sql("EXPLAIN QUERY PLAN " + search._FOUND.format(ids="1,2"))]
    assert any("COVERING INDEX extraction_facts" in step for step in plan), plan
    library.close()
