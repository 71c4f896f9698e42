"""Builds question rows: a prompt of `model.spanformat` and the answer that the model is to give.

Three sources: real questions about real passages, questions that `rephrase` makes from sentences of the corpus, and
`invented` records. Gold passages stand among others that resemble them; in a third of the rows the gold passage is
missing, or has lost the sentence that answers, or is asked about something else, and the answer is `NOT_FOUND`. Half of
the rows show single sentences, the likest ones of other passages, as a search finds them. Answers and subjects of real
questions are exchanged at times (`exchange`): else they are learned by heart. They are written by `row_files`.
"""

import argparse
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from model.train import invented, rephrase
from model.train.contexts import Contexts, window
from model.train.corpus import corpus_files, documents, questions, read_dropped
from model.train.exchange import Exchange, asks_for, holds, replaced
from model.train.row_files import Row, save_rows

HELD_OUT, FRESH = "held_out", "fresh"
"""Folders of a rows folder: questions to measure with during training, and such as only policy optimisation asks."""
KINDS = ("real", "text", "invented")
UNANSWERABLE = 0.33
_NEAR = 0.5
"""Of the questions without an answer about whole passages, the share that stand before the rest of the gold one: the
right subject alone is no answer."""
_OTHER = 0.5
"""Of the questions without an answer that name something, the share whose gold passage stands there: another thing is
asked for."""
_SINGLE = 0.5
"""The share of rows whose passages are single sentences."""
_EXCHANGED = 0.4
"""Of the real questions whose answer is a name or a number, the share for which another one is drawn."""
_RENAMED = 0.15
"""Of the real questions that name something, the share about another thing, which the gold passage then speaks of."""
_HELD_OUT = 33
"""One group of questions in so many is held out for measuring."""
_FRESH = 3
"""And so many more of them are left to policy optimisation: what a model knows by heart, it cannot try."""
_SHARES = {
    "uwnlp/qamr": 0.62,
    "uci-soe/FairytaleQAData": 0.14,
    "wasiahmad/PolicyQA": 0.10,
    "google-research-datasets/QED": 0.09,
    "deepset-ai/COVID-QA": 0.05,
}


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    context: int
    start: int
    answer: str


@dataclass(frozen=True, slots=True)
class _Gold:
    """Sentences of the gold passage, which of them answers, and with what."""

    sentences: Sequence[str]
    keep: int
    answer: str
    others: tuple[str, ...] = ()
    """What no other passage may hold: the answer before it was exchanged, and a subject that is real elsewhere."""


class Builder:
    """Draws rows without end; the same seed draws the same ones."""

    def __init__(
        self,
        corpus: Path,
        part: Path,
        held_out: bool = False,
        documents_limit: int = 4000,
        dropped: frozenset[str] = frozenset(),
        fresh: bool | None = None,
    ) -> None:
        """`fresh`: only the questions left to policy optimisation; or only the others; or both where None."""
        self.real = Contexts()
        self.by_source: dict[str, list[_Question]] = defaultdict(list)
        known: dict[tuple[str, str], int] = {}
        for row in questions(corpus, dropped):
            group = f"{row['source']} {row['group']}"
            bucket = zlib.crc32(group.encode()) % _HELD_OUT
            if (bucket == 0) != held_out or (fresh is not None and (bucket <= _FRESH) != fresh):
                continue
            context = " ".join(row["context"].split())
            if context != row["context"]:
                continue
            key = (group, context)
            if key not in known:
                title = row["group"] if row["source"] in ("google-research-datasets/QED", "wasiahmad/PolicyQA") else ""
                known[key] = self.real.add(rephrase.sentences(context) or [context], group, title)
            asked = _Question(row["question"], known[key], row["start"], row["answer"])
            self.by_source[row["source"]].append(asked)
        self.exchange = Exchange((one.text, one.answer) for own in self.by_source.values() for one in own)
        self.text = Contexts()
        for number, document in enumerate(documents(part, dropped)[:documents_limit]):
            title, _, body = document.partition("\n")
            short = title if len(title) < 60 else ""
            for paragraph in (body or document).split("\n"):
                found = rephrase.sentences(" ".join(paragraph.split()))
                for first in range(0, min(len(found), 40), 10):
                    self.text.add(found[first : first + 10], str(number), short)

    def row(self, random: Random) -> Row | None:
        kind = random.random()
        if kind < 0.5:
            return self._real(random)
        return self._from_text(random) if kind < 0.8 else self._invented(random)

    def _real(self, random: Random) -> Row | None:
        sources = [source for source in _SHARES if self.by_source[source]]
        source = random.choices(sources, [_SHARES[one] for one in sources])[0]
        asked = random.choice(self.by_source[source])
        sentences, position, keep = self.real.sentences[asked.context], 0, -1
        for number, sentence in enumerate(sentences):
            if position <= asked.start < position + len(sentence):
                keep = number
            position += len(sentence) + 1
        if keep < 0 or asked.answer not in sentences[keep]:
            return None
        if source == "uwnlp/qamr" and random.random() < 0.5:
            # These contexts are single sentences: put others of the same article around.
            others = self.real.groups[self.real.group_of[asked.context]]
            added = [" ".join(self.real.sentences[one]) for one in random.choices(others, k=random.randint(1, 4))]
            added = [one for one in dict.fromkeys(added) if asked.answer not in one]
            keep = random.randint(0, len(added))
            sentences = [*added[:keep], " ".join(sentences), *added[keep:]]
        question, gold = self._exchanged(asked.text.strip(), _Gold(sentences, keep, asked.answer), random)
        if gold.answer not in gold.sentences[keep]:
            return None
        row = self._assemble(self.real, question, asked.context, gold, random)
        return None if row is None else replace(row, question=rephrase.vary(row.question, random))

    def _exchanged(self, question: str, gold: _Gold, random: Random) -> tuple[str, _Gold]:
        """At times with another answer, and about another subject."""
        sentences, keep, answer = gold.sentences, gold.keep, gold.answer
        others: tuple[str, ...] = ()
        other = self.exchange.answer(question, answer, random) if random.random() < _EXCHANGED else None
        if other is not None and holds(sentences[keep], answer) and not holds(question, answer):
            others, sentences, answer = (answer,), [replaced(one, answer, other) for one in sentences], other
        subject = self.exchange.subject(question, random) if random.random() < _RENAMED else None
        if subject is not None and subject[0] not in answer and holds(sentences[keep], subject[0]):
            question, *sentences = (replaced(one, *subject) for one in (question, *sentences))
            others = (*others, subject[1])
        return question, _Gold(sentences, keep, answer, others)

    def _from_text(self, random: Random) -> Row | None:
        context = random.randrange(len(self.text.sentences))
        sentences = self.text.sentences[context]
        keep = random.randrange(len(sentences))
        made = rephrase.make_question(sentences[keep], self.text.titles[context], random)
        if made is None:
            return None
        return self._assemble(self.text, made[0], context, _Gold(sentences, keep, made[1]), random)

    def _assemble(self, contexts: Contexts, question: str, context: int, found: _Gold, random: Random) -> Row | None:
        """The gold passage among distractors, as paragraphs or as single sentences."""
        sentences, keep, answer = found.sentences, found.keep, found.answer
        single = random.random() < _SINGLE
        count = random.choice((3, 4, 5, 6, 7, 8, 9, 9, 9)) if single else random.choice((1, 1, 2, 3, 4, 4, 5, 6))
        longest = random.choice((250, 500, 800, 1200, 6000 // count)) if not single else 0
        unanswerable = random.random() < UNANSWERABLE

        def titled(text: str, number: int) -> str:
            title = contexts.titles[number]
            return f"{title}{random.choice((': ', ' - ', '. '))}{text}" if title and use_title else text

        use_title = random.random() < 0.3
        passages: list[str] = []
        rest = [one for number, one in enumerate(sentences) if number != keep]
        if single:
            passages += [titled(one, context) for one in random.sample(rest, min(len(rest), random.randint(0, count)))]
        group, alike = contexts.groups[contexts.group_of[context]], contexts.similar(question)
        for _ in range(4 * count):
            if len(passages) >= count:
                break
            draw = random.random()
            if draw < 0.9:
                other = random.choice(group if draw < 0.4 or not alike else alike)
            else:
                other = random.randrange(len(contexts.sentences))
            if other == context:
                continue
            nearest = contexts.nearest(other, question) if single else None
            text = titled(window(contexts.sentences[other], nearest, random, longest)[0], other)
            if text not in passages:
                passages.append(text)

        def neutral(text: str) -> bool:
            return answer.lower() not in text.lower() and not any(holds(text, one) for one in found.others)

        passages = [one for one in passages if neutral(one)][:count]
        gold = titled(window(sentences, keep, random, longest)[0], context)
        if unanswerable:
            subject = self.exchange.subject(question, random) if random.random() < _OTHER else None
            near = subject is not None and (holds(gold, subject[0]) or asks_for(question, subject[0]))
            if subject is not None and near and not holds(gold, subject[1]):
                question = replaced(question, *subject)
                passages = [one for one in passages if not holds(one, subject[1])][: count - 1]
                passages.insert(random.randint(0, len(passages)), gold)
                return Row(question, tuple(passages), 0, "")
            rest = [one for one in rest if neutral(one)]
            if rest and not single and random.random() < _NEAR:
                passages = passages[: count - 1]
                part = titled(window(rest, None, random, longest)[0], context)
                passages.insert(random.randint(0, len(passages)), part)
            return Row(question, tuple(passages), 0, "") if passages else None
        place = random.randint(0, min(len(passages), count - 1))
        passages = passages[: count - 1]
        passages.insert(place, gold)
        return Row(question, tuple(passages), passages.index(gold) + 1, answer)

    def _invented(self, random: Random) -> Row | None:
        """One cell of invented records: each record a passage, or several in one, or sentences, amid real text."""
        table = invented.records(random)
        row, column = random.randrange(len(table.keys)), random.randrange(len(table.columns))
        question, answer = invented.ask(table, row, column, random)
        lines = invented.as_rows(table, random) if random.random() < 0.55 else invented.as_sentences(table, random)
        unanswerable = random.random() < UNANSWERABLE
        if unanswerable and random.random() < 0.4 and len(table.columns) > 1:
            # The record is there and the column is not.
            other = invented.Records(
                table.key_header,
                table.keys,
                [one for number, one in enumerate(table.columns) if number != column],
                [[one for number, one in enumerate(cells) if number != column] for cells in table.cells],
            )
            lines = invented.as_rows(other, random) if random.random() < 0.55 else invented.as_sentences(other, random)
        elif unanswerable:
            lines[row : row + 1] = []
        order = list(range(len(lines)))
        random.shuffle(order)
        groups = random.randint(1, min(len(lines), 6)) if lines else 0
        passages = [" ".join(lines[one] for one in order[start::groups]) for start in range(groups)]
        gold = 0 if unanswerable else order.index(row) % groups + 1
        if random.random() < 0.4:
            for _ in range(random.randint(1, 3)):
                if len(passages) < 9:
                    other_text = random.choice(self.text.sentences)
                    place = random.randint(0, len(passages))
                    passages.insert(place, window(other_text, None, random, 500)[0])
                    gold += 1 if gold and place < gold else 0
        if not passages or (gold and answer not in passages[gold - 1]):
            return None
        # A value that another passage holds as well does not make that passage wrong, but the label would be unfair.
        if gold and sum(answer in one for one in passages) > 1 and random.random() < 0.8:
            return None
        return Row(rephrase.vary(question, random), tuple(passages), gold, answer if gold else "")


def rows(builder: Builder, seed: int, count: int) -> Iterator[Row]:
    """`count` rows; what cannot be built is drawn again."""
    random = Random(seed)
    made = 0
    while made < count:
        row = builder.row(random)
        if row is not None:
            made += 1
            yield row


def _write(corpus: Path, tokenizer: Path, out: Path, number: int, count: int, seed: int, fresh: bool | None) -> int:
    parts = corpus_files(corpus)
    builder = Builder(corpus, parts[number % len(parts)], dropped=read_dropped(tokenizer), fresh=fresh)
    return save_rows(list(rows(builder, seed + number, count)), tokenizer, out, number)


def write_held_out(corpus: Path, tokenizer: Path, out: Path, count: int, seed: int) -> None:
    """A rows folder of `count` questions that no training row asks, about held-out text; a part for each of `KINDS`."""
    builder = Builder(corpus, corpus / "validation.txt.xz", held_out=True, dropped=read_dropped(tokenizer))
    shares = (builder._real, 0.5), (builder._from_text, 0.3), (builder._invented, 0.2)
    for number, (draw, share) in enumerate(shares):
        builder.row = draw  # type: ignore[method-assign]  # one kind at a time
        save_rows(list(rows(builder, seed + number, round(count * share))), tokenizer, out, number)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build question rows from the corpus.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--fresh", type=int, default=0, help="rows of questions that the others then leave out")
    parser.add_argument("--held-out", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    corpus, tokenizer, out, seed = arguments.corpus, arguments.tokenizer, arguments.out, arguments.seed
    kinds: list[tuple[Path, int, bool | None]] = [(out, arguments.rows, False if arguments.fresh else None)]
    if arguments.fresh:
        kinds.append((out / FRESH, arguments.fresh, True))
    with ProcessPoolExecutor(arguments.workers) as pool:
        held_out = pool.submit(write_held_out, corpus, tokenizer, out / HELD_OUT, arguments.held_out, seed)
        jobs = [
            pool.submit(_write, corpus, tokenizer, folder, number, -(-count // arguments.workers), seed, fresh)
            for folder, count, fresh in kinds
            for number in range(arguments.workers)
        ]
        held_out.result()
        print(f"{sum(job.result() for job in jobs)} rows", flush=True)


if __name__ == "__main__":
    main()
