"""Documents whose language the embedder hardly reads are named as such."""

from pathlib import Path

import pytest

from retrieval.embedder import load_embedder
from retrieval.foreign import beyond, language_of
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.settings import RetrievalSettings

SPANISH = "El puerto de la ciudad se construyó en el siglo pasado, y los barcos de los pescadores salen por la mañana."


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("Spanish", SPANISH),
        (
            "French",
            "Le phare de la presqu'île fut construit par des ouvriers, et les pêcheurs ne naviguent pas l'hiver.",
        ),
        ("German", "Der Hafen ist nicht für große Schiffe gebaut, und die Boote der Fischer liegen in der Bucht."),
        ("English", "The harbour is not for large ships, and the boats of the fishermen are in the bay."),
        ("Chinese", "这座港口建于上个世纪，渔民的船早上出海。"),
        ("Japanese", "この港は前世紀に建設され、漁船は朝に出港します。"),
        ("Russian", "Порт построен в прошлом веке, и лодки рыбаков выходят утром."),
        (None, "12,5 13,0 14,1"),
        (None, "xq7 zzk17 qwrt bnm lkj"),
    ],
)
def test_a_language_is_told_by_its_letters_or_its_commonest_words(language: str | None, text: str) -> None:
    assert language_of(text) == language
    count = load_embedder().count_tokens
    assert beyond(text, count) == (None if language == "English" else language)


def test_an_embedder_that_knows_the_words_is_not_warned_of() -> None:
    assert beyond(SPANISH, lambda text: len(text.split()) + 2) is None


def test_ingest_and_the_library_name_the_language(tmp_path: Path) -> None:
    (tmp_path / "puerto.txt").write_text(SPANISH)
    (tmp_path / "harbour.txt").write_text("The harbour was built in the last century, and it is open to all.")
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings())
    found = {
        Path(one.path).name: one.beyond for one in ingest(library, [tmp_path / "puerto.txt", tmp_path / "harbour.txt"])
    }
    assert found == {"puerto.txt": "Spanish", "harbour.txt": None}
    assert library.languages_beyond() == {"Spanish": 1}
    library.close()
