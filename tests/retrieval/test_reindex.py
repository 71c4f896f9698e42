"""Another embedder in place of the one a library was made with."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.errors import EmbedderMismatch
from retrieval.ingest import ingest
from tests.fakes import FakeEmbedder
from tests.retrieval.libraries import contents, opened


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
