"""Languages that an embedder hardly knows are searched by words, and by words' beginnings."""

from pathlib import Path

import pytest

from retrieval.embedder import load_embedder
from retrieval.ingest import ingest
from retrieval.language import INFLECTED, STRANGE, pieces_per_word, trust
from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from tests.fakes import FakeEmbedder


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("When does the museum open on Sundays?", True),
        ("What is the annual fee for a berth in the harbour?", True),
        ("Wie hoch ist die Jahresgebühr für einen Liegeplatz?", False),
        ("¿Qué organización construyó el puerto y cuánto costó?", False),
        ("Combien coûte un billet pour les enfants de moins de douze ans ?", False),
        ("谁修建了这座港口？", False),
    ],
)
def test_the_embedded_embedder_takes_foreign_words_apart(text: str, known: bool) -> None:
    pieces = pieces_per_word(text, load_embedder().count_tokens)
    assert (trust(pieces) == 1.0) == known
    assert (pieces >= INFLECTED) != known


class Speller(FakeEmbedder):
    """Knows no word: it spells them, and finds all texts alike."""

    def count_tokens(self, text: str) -> int:
        return len(text.replace(" ", "")) + 2


def test_a_strange_language_is_found_by_the_beginnings_of_its_words(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    texts = {"a": "Las organizaciones construyeron un puerto.", "b": "Los barcos de la bahía.", "c": "El mercado."}
    for name, text in texts.items():
        (tmp_path / "files" / f"{name}.txt").write_text(text)
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), lambda: Speller(max_tokens=200))
    ingest(library, [tmp_path / "files"])
    for query, name in (("¿Quién construyó?", "a"), ("organización", "a"), ("barca bahías", "b")):
        best = library.search(query, collections=["main"])[0]
        assert (Path(best.path).stem, (best.lexical or 0) > 0) == (name, True)
    library.close()


def test_trust_falls_with_the_pieces_and_never_to_nothing() -> None:
    assert 1.0 == trust(1.0) > trust(1.6) > trust(STRANGE) == trust(9.0) > 0
