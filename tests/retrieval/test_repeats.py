"""What several documents say is found once, with all its places; what differs in a number stays apart."""

from pathlib import Path

from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.repeats import same
from retrieval.settings import RetrievalSettings
from tests.fakes import FakeEmbedder

TEXT = "The yearly fee for a berth in the harbour of the old town is due on the first day of the month of May."


def test_a_repeated_passage_is_found_once_and_names_its_other_places(tmp_path: Path) -> None:
    texts = {"a": TEXT, "b": TEXT.replace(" is due", "\nIS due"), "c": f"{TEXT} It is 90 crowns."}
    texts |= {"d": f"{TEXT} It is 120 crowns.", "e": "Puffins nest on the cliff."}
    (tmp_path / "files").mkdir()
    for name, text in texts.items():
        (tmp_path / "files" / f"{name}.txt").write_text(text)
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)
    ingest(library, [tmp_path / "files"])
    found = library.search("yearly fee for a berth", collections=["main"])
    library.close()
    places = {Path(one.path).stem: [Path(path).stem for path in one.also] for one in found}
    assert len(places) == 4 and places["c"] == places["d"] == places["e"] == []
    assert places.get("a") == ["b"] or places.get("b") == ["a"]


def test_texts_that_differ_in_a_number_are_not_the_same() -> None:
    long = " ".join(f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
    assert same(f"{long} costs 90", f"{long.upper()}  costs: 90.") and same(f"{long} at 90", f"{long} for 90")
    assert not same(f"{long} costs 90", f"{long} costs 120")
