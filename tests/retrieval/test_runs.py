"""Shared runs of characters tell passages apart where whole words do not."""

from collections import Counter
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.runs import share_of_numbers, share_of_runs
from retrieval.settings import RetrievalSettings
from tests.fakes import FakeEmbedder


def test_inflected_words_and_words_in_a_row_count() -> None:
    texts = ["Construyeron el puerto viejo.", "El viejo construye un faro en el puerto.", "Los barcos de la bahía."]
    assert np.argmax(share_of_runs("¿Quién construyó el puerto viejo?", texts)) == 0
    assert np.argmax(share_of_runs("BAHIA", texts)) == 2


def test_scripts_without_spaces_are_compared_by_shorter_runs() -> None:
    assert np.argmax(share_of_runs("港口谁修建", ["市场每天开放。", "他们修建了一座港口。", "港湾很深。"])) == 1


@pytest.mark.parametrize("b", [0.75, 1.0])
def test_the_share_is_that_of_the_formula(b: float) -> None:
    texts = ["the red ferry", "the blue boats", "a red boat"]
    asked = " red ferry "
    runs = dict.fromkeys(asked[i : i + 5] for i in range(len(asked) - 4))
    padded = [f" {text} " for text in texts]
    mean = sum(map(len, padded)) / 3
    having = Counter(run for run in runs for text in padded if run in text)
    weight = {run: max(log((3 - having[run] + 0.5) / (having[run] + 0.5)), 1e-6) for run in runs}
    for text, share in zip(padded, share_of_runs("red ferry", texts, b), strict=True):
        saturated = (text.count(run) / (text.count(run) + 1.2 * (1 - b + b * len(text) / mean)) for run in runs)
        plain = sum(one * weight[run] for one, run in zip(saturated, runs, strict=True)) / sum(weight.values())
        assert share == pytest.approx(plain)


@settings(derandomize=True, max_examples=50)
@given(st.text(max_size=40), st.lists(st.text(max_size=60), max_size=5))
def test_any_text_has_a_share_between_nothing_and_all(query: str, texts: list[str]) -> None:
    shares = share_of_runs(query, texts)
    assert shares.shape == (len(texts),)
    assert np.all((shares >= 0) & (shares <= 1))


def test_a_number_is_shared_whole_or_not_at_all() -> None:
    texts = ["Pier 12 takes 1,840 tonnes.", "Pier 120 takes 1.840 tonnes.", "The pier takes ships."]
    assert share_of_numbers("Does pier 12 take 1 840 tonnes?", texts).tolist() == [1.0, 0.75, 0.0]
    assert share_of_numbers("1840 tonnes", texts).tolist() == [1.0, 1.0, 0.0]
    assert share_of_numbers("Which pier?", texts).tolist() == [0.0, 0.0, 0.0]


class Indifferent(FakeEmbedder):
    """Finds all texts alike."""

    def encode(self, texts):  # type: ignore[no-untyped-def]
        return np.full((len(texts), self.dimension), self.dimension**-0.5, dtype=np.float32)


def test_a_passage_is_found_by_what_its_neighbours_say_and_by_no_other_document(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    filler = " ".join(f"gull{n}" for n in range(40))
    (tmp_path / "files/a.txt").write_text(f"# The keeper of the lighthouse\n\n{filler}\n\nThe keeper eats fish.\n")
    (tmp_path / "files/b.txt").write_text(f"# Of rain and wind\n\n{filler}\n\nThe keeper eats bread and cheese.\n")
    embedder = Indifferent(max_tokens=50)
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(chunk_tokens=50), lambda: embedder)
    ingest(library, [tmp_path / "files"])
    found = library.search("keeper lighthouse keeper eats", collections=["main"])
    assert Path(found[0].path).stem == "a"
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(0 <= one.score <= 1 for one in found)
    library.close()


def test_of_passages_that_are_about_as_good_the_one_with_the_number_comes_first(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.txt").write_text("The pilot Brandt takes care of berth 9 on Sundays.")
    (tmp_path / "files/b.txt").write_text("Berth 8 belongs to the pilot Holm, who takes care.")
    for number in range(3):
        (tmp_path / f"files/{number}.txt").write_text(f"Gulls nest on cliff {number + 3}.")
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), lambda: Indifferent())
    ingest(library, [tmp_path / "files"])
    found = library.search("Which pilot takes care of berth 8 on Mondays?", collections=["main"])
    assert [Path(one.path).stem for one in found[:2]] == ["b", "a"]
    assert found[0].score > found[1].score
    library.close()
