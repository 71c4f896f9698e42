"""Checks what a model wrote against what it was given: every mark, every quotation, every claim.

    answer text, the numbered passages and memories of the prompt
      1. reasoning blocks are taken out; code is left alone
      2. quotations are looked for, character by character after normalising form (app.quotes)
      3. marked claims (app.claims) without a quotation are held to the passage they name (app.support)
      4. sentences without a mark are held to everything that was given
      5. what nothing supports is listed

The status of a citation:
- `verified`       the quotation stands in the passage that the mark names, the same but for form (typography, white
                   space, line ends); or, without one, that passage supports the claim: its numbers, names and
                   negations, and most of its words.
- `repaired`       the words are the source's but for case, an honest omission (`...`, `[...]`), inflection or an
                   article, and the citation holds the source's exact characters; or the model gave no mark and the
                   checker found the source.
- `misattributed`  it stands in another of the sources than the one marked; the citation points to where it is.
- `not_found`      the mark names no passage, or nothing given says so. The quote is then empty. A quotation that
                   stands in a source although its mark names none is cited beside that, from its own place in the
                   answer.

A citation's quote is always cut from the extraction by its offsets, so it can say nothing that the document does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.answer import Citation, Status
from app.claims import claims, refuses, split_reasoning, without
from app.marks import Mark, code_ranges, definition_ranges, marks
from app.quotes import Found, Quotation, find, quotations
from app.sentences import Range, content_words, sentences
from app.shelf import Shelf
from app.support import Claim, agrees, claim_of, contradicts, evidence, numbers
from retrieval.types import Locator, Passage


@dataclass(frozen=True, slots=True)
class Source:
    """Passage `n` of the prompt; `context` is what stood above it there (title, headings)."""

    n: int
    passage: Passage
    context: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer after the check. Offsets of citations and of `unsupported` count in `answer`."""

    answer: str
    reasoning: str | None
    citations: tuple[Citation, ...]
    unsupported: tuple[Range, ...]
    memories: tuple[int, ...]
    """Ids of the memories that the answer used."""
    refused: bool
    """Whether the model itself said that the sources do not answer."""

    @property
    def supported(self) -> bool:
        return bool(self.memories) or any(citation.status != "not_found" for citation in self.citations)


def check(
    text: str,
    sources: Sequence[Source],
    shelf: Shelf,
    memories: Sequence[tuple[int, str]] = (),
    reasoning: str | None = None,
) -> Checked:
    """Check the answer `text` against its sources and (id, text) memories."""
    answer, thought = split_reasoning(text)
    reasoning = "\n\n".join(part for part in (reasoning, thought) if part) or None
    return _Check(answer, sources, shelf, dict(memories)).run(reasoning)


@dataclass
class _Check:
    answer: str
    sources: Sequence[Source]
    shelf: Shelf
    memories: dict[int, str]
    citations: list[Citation] = field(default_factory=list)
    unsupported: list[Range] = field(default_factory=list)
    used: set[int] = field(default_factory=set)

    def run(self, reasoning: str | None) -> Checked:
        closed = code_ranges(self.answer)
        footnotes = definition_ranges(self.answer)
        quoted = quotations(self.answer, closed + footnotes)
        placed = [(quote, self._find(quote.text, self.sources)) for quote in quoted]
        # A mark inside a quotation that stands so in its source belongs to the source ("as shown in [3]").
        inner = [(q.start, q.end) for q, hit in placed if hit is not None and hit[1].exact]
        known = {source.n for source in self.sources}
        every = [mark for mark in marks(self.answer) if not any(a < mark.start and mark.end < b for a, b in inner)]
        # So does a bracketed alteration ("[430]"), which names no passage.
        every = [
            m
            for m in every
            if known & {*m.numbers} or m.memories or not any(q.start < m.start and m.end < q.end for q in quoted)
        ]
        for sentence in claims(self.answer, every, quoted, closed + footnotes):
            self._sentence(
                sentence,
                [mark for mark in every if sentence[0] <= mark.start < sentence[1]],
                [quote for quote in quoted if sentence[0] <= quote.start < sentence[1]],
            )
        self.citations.sort(key=lambda citation: (citation.answer_start, citation.n))
        return Checked(
            self.answer,
            reasoning,
            tuple(self.citations),
            tuple(self.unsupported),
            tuple(sorted(self.used)),
            refuses(self.answer),
        )

    # ---- one sentence -----------------------------------------------------------------------------

    def _sentence(self, sentence: Range, own: Sequence[Mark], quoted: Sequence[Quotation]) -> None:
        """Cite or flag one sentence of the answer."""
        before = len(self.citations)
        good = True
        taken: set[int] = set()
        for quote in quoted:
            following = self._following(quote, own)
            good &= self._quotation(quote, following)
            taken |= {mark.start for mark in following}
        rest = without(self.answer, sentence, own, quoted)
        if quoted:
            good &= self._figures(rest, before)
        for group, text in self._groups(sentence, own, quoted):
            if all(mark.start in taken for mark in group):
                continue
            good &= self._marked([mark for mark in group if mark.start not in taken], text)
        if not own and not quoted:
            good = self._unmarked(sentence, rest)
        if not good:
            self.unsupported.append(sentence)

    def _groups(
        self, sentence: Range, own: Sequence[Mark], quoted: Sequence[Quotation]
    ) -> list[tuple[list[Mark], str]]:
        """Adjacent marks, each group with the words of the claim that it closes."""
        groups: list[list[Mark]] = []
        for mark in own:
            if groups and not self.answer[groups[-1][-1].end : mark.start].strip(" ,;"):
                groups[-1].append(mark)
            else:
                groups.append([mark])
        whole = without(self.answer, sentence, own, quoted)
        found = []
        start = sentence[0]
        for group in groups:
            text = without(self.answer, (start, group[0].start), own, quoted)
            # A leading mark ("[1] says ...") or a scrap ("and [2]") speaks for the whole sentence.
            found.append(
                (
                    group,
                    text
                    if len(content_words(text)) >= 3 or (numbers(text) and len(content_words(text)) >= 2)
                    else whole,
                )
            )
            start = group[-1].end
        tail = without(self.answer, (start, sentence[1]), own, quoted)
        if found and len(content_words(tail)) >= 2:
            group, text = found[-1]
            found[-1] = (group, f"{text} {tail}" if text != whole else whole)
        return found

    def _following(self, quote: Quotation, own: Sequence[Mark]) -> list[Mark]:
        """The marks that speak for a quotation: the adjacent ones after it, else the last of its sentence."""
        later = [mark for mark in own if mark.start >= quote.start]
        group = later[:1] or list(own[-1:])
        for mark in later[1:]:
            if self.answer[group[-1].end : mark.start].strip(" ,;"):
                break
            group.append(mark)
        return group

    def _quotation(self, quote: Quotation, group: Sequence[Mark]) -> bool:
        """Cite a quotation once for each passage that its marks name, and from where it stands if they name none."""
        pairs = [(mark, n, self._source(n)) for mark in group for n in mark.numbers]
        hit = self._find(quote.text, self.sources)
        if hit is None:
            by_memory = [i for i, text in self.memories.items() if find(quote.text, text) is not None]
            self.used.update(by_memory)
            if not by_memory:
                for mark, n, _ in pairs:
                    self._cite_nothing(n, mark)
                if not pairs:
                    self._cite_nothing(0, quote)
            return bool(by_memory)
        placed = False
        for mark, n, source in pairs:
            own = self._find(quote.text, [source]) if source is not None else None
            if source is None:
                self._cite_nothing(n, mark)
                continue
            placed = True
            if own is not None:
                self._cite(n, mark, source, (own[1].start, own[1].end), "verified" if own[1].exact else "repaired")
            elif (place := self._evidence(claim_of(quote.text), source)) is not None and len(pairs) > 1:
                self._cite(n, mark, source, place, "verified")
            else:
                self._cite(n, mark, hit[0], (hit[1].start, hit[1].end), "misattributed")
        if not placed:
            self._cite(hit[0].n, quote, hit[0], (hit[1].start, hit[1].end), "verified" if hit[1].exact else "repaired")
        return True

    def _find(self, text: str, sources: Sequence[Source]) -> tuple[Source, Found] | None:
        """The first of `sources` whose passage holds the quotation, an exact match before a repaired one."""
        hits = []
        for source in sources:
            passage = source.passage
            found = find(text, self.shelf.text(passage.document), (passage.start, passage.end))
            if found is not None and _overlaps(found, passage):
                if found.exact:
                    return source, found
                hits.append((source, found))
        return hits[0] if hits else None

    def _marked(self, group: Sequence[Mark], text: str) -> bool:
        """Claims without a quotation: each named passage must support them, alone or together with the group's
        others."""
        claim = claim_of(text)
        pairs = [(mark, n) for mark in group for n in mark.numbers]
        remembered = [
            i for mark in group for i in mark.memories if i in self.memories and _remembers(claim, self.memories[i])
        ]
        self.used.update(remembered)
        alone = {n: self._evidence(claim, source) for _, n in pairs if (source := self._source(n)) is not None}
        together = (
            {}
            if any(alone.values())
            else self._together(claim, [s for _, n in pairs if (s := self._source(n)) is not None])
        )
        elsewhere = next(
            ((s, r) for s in self.sources if s.n not in alone and (r := self._evidence(claim, s)) is not None), None
        )
        good = bool(remembered)
        for mark, n in pairs:
            source = self._source(n)
            place = alone.get(n) or together.get(n)
            if source is not None and place is not None:
                self._cite(n, mark, source, place, "verified")
            elif source is not None and elsewhere is not None and not any(alone.values()) and not together:
                self._cite(n, mark, elsewhere[0], elsewhere[1], "misattributed")
            elif source is not None and any(alone.values()) and (part := self._part(claim, source)) is not None:
                self._cite(n, mark, source, part, "verified")
            else:
                self._cite_nothing(n, mark)
                continue
            good = True
        return good

    def _unmarked(self, sentence: Range, text: str) -> bool:
        """A sentence without a mark is cited to whatever given source supports it."""
        claim = claim_of(text)
        if claim.empty:
            return True
        for source in self.sources:
            if (place := self._evidence(claim, source)) is not None:
                self._cite(source.n, _Place(*sentence), source, place, "repaired")
                return True
        by_memory = [i for i, memory in self.memories.items() if _remembers(claim, memory)]
        self.used.update(by_memory)
        return bool(by_memory)

    def _figures(self, rest: str, before: int) -> bool:
        """Numbers and names beside a quotation must agree with what the sentence cites."""
        cited = [c for c in self.citations[before:] if c.status != "not_found"]
        near = [
            f"{s.context} {s.passage.text}"
            for s in self.sources
            for c in cited
            if c.document == s.passage.document and s.passage.start < c.end and c.start < s.passage.end
        ]
        return not cited or agrees(rest, "\n".join([*near, *(c.quote for c in cited)]))

    # ---- evidence ---------------------------------------------------------------------------------

    def _source(self, n: int) -> Source | None:
        return next((source for source in self.sources if source.n == n), None)

    def _evidence(self, claim: Claim, source: Source) -> Range | None:
        passage = source.passage
        found = evidence(claim, self.shelf.text(passage.document), (passage.start, passage.end), context=source.context)
        return found.range if found is not None else None

    def _together(self, claim: Claim, sources: Sequence[Source]) -> dict[int, Range]:
        """Evidence of a claim that only the marked passages together support: each must bring a share of it."""
        parts = {s.n: part for s in sources if (part := self._part(claim, s)) is not None}
        texts = [self.shelf.text(s.passage.document)[slice(*parts[s.n])] for s in sources if s.n in parts]
        joined = "\n".join(texts + [s.context for s in sources])
        own = set(content_words(joined))
        share = sum(1 for word in claim.words if word in own) / max(len(claim.words), 1)
        enough = len(parts) > 1 and share >= 0.6 and claim.numbers <= numbers(joined) and claim.names <= own
        return parts if enough and not any(contradicts(claim, text) for text in texts) else {}

    def _part(self, claim: Claim, source: Source) -> Range | None:
        """The unit that shares most with the claim, if it shares anything telling."""
        text, passage = self.shelf.text(source.passage.document), source.passage

        def share(unit: Range) -> int:
            body = text[unit[0] : unit[1]]
            return len(set(claim.words) & set(content_words(body))) + 2 * len(claim.numbers & numbers(body))

        best = max(sentences(text, passage.start, passage.end), key=share, default=None)
        if best is None or share(best) < max(2, 0.25 * len(claim.words)):
            return None
        return None if contradicts(claim, text[best[0] : best[1]]) else best

    # ---- citations --------------------------------------------------------------------------------

    def _cite(self, n: int, where: "Mark | Quotation | _Place", source: Source, place: Range, status: Status) -> None:
        self.citations.append(self.shelf.cite(n, (where.start, where.end), source.passage, place, status))

    def _cite_nothing(self, n: int, where: "Mark | Quotation") -> None:
        """A mark that proves nothing: it names its passage if there is one, and carries an empty quote."""
        source = self._source(n)
        if source is None:
            self.citations.append(
                Citation(n, where.start, where.end, "", "", "", None, 0, 0, 0, Locator(), "", "", "not_found")
            )
        else:
            self._cite(n, where, source, (source.passage.start, source.passage.start), "not_found")


@dataclass(frozen=True, slots=True)
class _Place:
    start: int
    end: int


def _overlaps(found: Found, passage: Passage) -> bool:
    return found.start < passage.end and passage.start < found.end


def _remembers(claim: Claim, memory: str) -> bool:
    """Whether a memory supports a claim, first and second person being the same person."""
    return evidence(claim, memory, context="user name call") is not None
