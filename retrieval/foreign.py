"""Which language a text is in, and whether an embedder reads it. Told by rules; knows no files.

Scripts that one language has to itself, or nearly, are told by their letters; the others by their commonest words,
which are a third of any prose.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

from sqlalchemy import Connection, func, select

from retrieval.fulltext import STOP_WORDS
from retrieval.language import INFLECTED, pieces_per_word
from retrieval.schema import extractions

_LOOKED_AT = 4000
"""Characters of a document, from its beginning."""
_DOCUMENTS = 500
"""Documents of a library whose languages are told, spread over all."""
_SCRIPTS = {
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
    "CJK": "Chinese",
    "CYRILLIC": "Russian",
    "GREEK": "Greek",
    "ARABIC": "Arabic",
    "HEBREW": "Hebrew",
    "THAI": "Thai",
    "DEVANAGARI": "Hindi",
}
_KANA_SHARE = 0.1
"""Of the letters: from so much on, ideographs beside kana are Japanese."""
_COMMON = {
    "Spanish": "el la los las de del que y en un una es por con para se su al como más pero sus fue son entre cuando",
    "French": "le la les des du de et est en un une que qui dans pour par sur au aux ne pas plus se son sont avec ce",
    "German": "der die das und den dem des ist in zu ein eine einen mit von für auf nicht sich als auch wird sind im",
    "Italian": "il la le gli di del della che e è un una per in con non si sono da dei delle al più come nel ha",
    "Portuguese": "o a os as de do da dos das que e em um uma é por com para não se ao mais como foi são na no",
    "Dutch": "de het een en van in is op te dat die voor met zijn niet aan er om ook als bij door wordt naar",
}
_WORDS = {name: frozenset(words.split()) for name, words in _COMMON.items()} | {"English": STOP_WORDS}
_LEAST = 0.2
"""Share of a text's words that its language's common ones are at the least; in lists and code it is less."""
_WORD = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str | None:
    """The English name of the language that `text` begins in; None where that cannot be told."""
    text = text[:_LOOKED_AT]
    letters = Counter({char: count for char, count in Counter(text).items() if char.isalpha()})
    if not letters:
        return None
    scripts: Counter[str] = Counter()
    for char, count in letters.items():  # a name is looked up once a letter: of each, 2% of an ingest
        scripts[unicodedata.name(char, "").split(" ")[0].split("-")[0]] += count
    if scripts["HIRAGANA"] + scripts["KATAKANA"] >= _KANA_SHARE * letters.total():
        return "Japanese"
    script, most = scripts.most_common(1)[0]
    if script in _SCRIPTS and 2 * most >= letters.total():
        return _SCRIPTS[script]
    words = Counter(_WORD.findall(text.lower()))
    shares = {name: sum(words[word] for word in common) for name, common in _WORDS.items()}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] >= _LEAST * words.total() else None


def beyond(text: str, count: Callable[[str], int]) -> str | None:
    """The language of `text` where the embedder whose tokens `count` counts hardly reads it, else None."""
    language = language_of(text)
    # Every embedder was shown English; numbers and names take its words apart, too.
    if language in (None, "English") or pieces_per_word(text[:_LOOKED_AT], count) < INFLECTED:
        return None
    return language


def languages_beyond(db: Connection, count: Callable[[str], int]) -> dict[str, int]:
    """Languages of the library's documents that the embedder hardly reads, with how many of those looked at are in
    each."""
    total = db.execute(select(func.count()).select_from(extractions)).scalar_one()
    step = max(total // _DOCUMENTS, 1)
    head = func.substr(extractions.c.text, 1, _LOOKED_AT)
    texts = db.execute(select(head).where(extractions.c.document % step == 0)).scalars()
    return dict(Counter(language for text in texts if (language := beyond(text, count)) is not None))
