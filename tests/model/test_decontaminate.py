"""Training text that shares thirteen words with an evaluation set is found, counted per set, and left out."""

import json
import lzma
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest

from model.errors import BadRecipe
from model.train import decontaminate
from model.train.corpus import SEPARATOR, pack, text_id
from model.train.decontaminate import RUN, evaluation_texts, know, runs
from model.train.prepare import prepare
from model.train.recipe import read_recipe
from model.train.rows import Builder

WORDS = [
    "sand",
    "tide",
    "rope",
    "mast",
    "sail",
    "keel",
    "oar",
    "net",
    "gull",
    "reef",
    "buoy",
    "dock",
    "pier",
    "mole",
    "surf",
]
RECIPE = read_recipe(Path(decontaminate.__file__).with_name("embedded.toml"))
GOLD = "the harbour master of tarnwick wrote in his ledger that seven boats had come home early"


def plain(text: str) -> set[tuple[str, ...]]:
    """The runs of a text, the slow way."""
    words = "".join(one if one.isalnum() else " " for one in text.lower()).split()
    return {tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1)}


def test_hits_are_those_of_sets_of_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decontaminate, "_BATCH", 3000)
    random = Random(3)
    signs = (" ", ", ", ". ", "\n", " — ", "” ", "; (", "_", "’")

    def text(words: list[str]) -> str:
        return "".join((word.upper() if random.random() < 0.2 else word) + random.choice(signs) for word in words)

    known_words = [[random.choice([*WORDS, "café", "Ærø"]) for _ in range(40)] for _ in range(60)]
    known = know({"a": [text(words) for words in known_words[:30]], "b": [text(words) for words in known_words[30:]]})
    texts = []
    for number in range(300):
        words = [random.choice(WORDS) for _ in range(random.randint(0, 60))]
        if number % 3 == 0:  # a piece of a known text, long enough or just not
            source, start, size = random.choice(known_words), random.randint(0, 20), random.choice([12, 13, 14])
            at = random.randint(0, len(words))
            words[at:at] = source[start : start + size]
        texts.append(text(words))
    sets = [set().union(*(plain(" ".join(words)) for words in half)) for half in (known_words[:30], known_words[30:])]
    wanted = [sum(bool(plain(one) & half) << bit for bit, half in enumerate(sets)) for one in texts]
    assert known.sets(texts).tolist() == wanted
    assert 0 < sum(one > 0 for one in wanted) < 100


def test_no_run_reaches_from_one_text_into_the_next() -> None:
    words = GOLD.split()
    known = know({"gold": [GOLD]})
    halves = [" ".join(words[:8]), " ".join(words[8:])]
    assert known.sets(halves).tolist() == [0, 0]
    assert known.sets(["\n".join(halves), "", GOLD]).tolist() == [1, 0, 1]
    assert known.sets([]).tolist() == []


def test_the_order_of_words_counts() -> None:
    words = GOLD.split()[:RUN]
    (one,), _ = runs([" ".join(words)])
    (other,), _ = runs([" ".join([words[1], words[0], *words[2:]])])
    assert one != other and len(runs([" ".join(words[1:])])[0]) == 0


def test_every_form_of_evaluation_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"rows": [{"text": "one", "n": 3}, ["two"]]}))
    (tmp_path / "b.jsonl").write_text(json.dumps({"x": "three\u2028"}) + "\n" + json.dumps(["four"]) + "\n")
    (tmp_path / "c.csv").write_text('head,other\n"five, so","[{""content"": ""six\\u2019s""}]"\n')
    (tmp_path / "d.md").write_text("seven\neight")
    assert evaluation_texts(tmp_path) == [
        "one", "two", "three\u2028", "four", "head", "other", "five, so", "six’s", "seven\neight",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no evaluation set"):
        know({"short": ["too few words"]})


def test_packing_and_question_rows_leave_out_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from model.train.tokenizer import train_tokenizer

    corpus, sets, data = tmp_path / "corpus", tmp_path / "sets", tmp_path / "data"
    for folder in (corpus, sets / "quay", sets / "other", data):
        folder.mkdir(parents=True)
    (sets / "quay" / "quay.txt").write_text(f"Before. {GOLD}. After.")
    (sets / "other" / "x.json").write_text(json.dumps([" ".join(WORDS)]))
    clean = " ".join(reversed(WORDS))
    bad = f"Some news: {GOLD.title()}!"
    write = {"00.txt.xz": SEPARATOR.join([clean, bad]), "validation.txt.xz": clean}
    asked = {"source": "uwnlp/qamr", "question": "What?", "start": 0, "answer": "sand"}
    rows = [asked | {"group": str(number), "context": text} for number, text in enumerate([bad, clean, bad])]
    write["questions.jsonl.xz"] = "".join(json.dumps(row) + "\n" for row in rows)
    for name, text in write.items():
        (corpus / name).write_bytes(lzma.compress(text.encode()))
    command = ["x", "--corpus", str(corpus), "--evaluation", str(sets), "--out", str(data / "dropped.json")]
    monkeypatch.setattr(sys, "argv", command)
    decontaminate.main()
    shown = capsys.readouterr().out
    assert "text: 1 of 2 documents" in shown and "question contexts: 1 of 2" in shown and "  quay: 1\n" in shown
    written = json.loads((data / "dropped.json").read_text())
    assert written["dropped"] == [text_id(bad)]
    assert written["counts"]["text"] == {"other": 0, "quay": 1}

    tokenizer = data / "tokenizer.json"
    train_tokenizer([clean, bad], 300).save(str(tokenizer))
    part = pack(corpus, tokenizer, data)[0]
    kept = np.fromfile(part, np.uint16)
    again = tmp_path / "again"
    prepare(RECIPE, corpus, again, 1, tokenizer, data / "dropped.json", print)
    assert np.array_equal(np.fromfile(again / part.name, np.uint16), kept)
    prepare(RECIPE, corpus, again, 1, tokenizer, data / "dropped.json", print)  # the same list may be given again
    with pytest.raises(BadRecipe, match="without the list"):
        prepare(RECIPE, corpus, again, 1, tokenizer, tokenizer, print)
    (data / "dropped.json").unlink()
    part.unlink()
    pack(corpus, tokenizer, data)
    assert len(kept) < len(np.fromfile(part, np.uint16)) / 1.5

    dropped = frozenset(written["dropped"])
    built = [Builder(corpus, corpus / "00.txt.xz", held_out=flag, dropped=dropped) for flag in (False, True)]
    contexts = [" ".join(sentences) for one in built for sentences in (*one.real.sentences, *one.text.sentences)]
    assert contexts and not any("tarnwick" in one.lower() for one in contexts)


def test_it_runs_where_there_is_only_numpy() -> None:
    code = (
        "import sys; import model.train.decontaminate; "
        "print(sorted({'torch', 'pydantic', 'typer', 'app'} & {one.partition('.')[0] for one in sys.modules}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
