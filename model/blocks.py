"""Who uses which page of the cache, and what finished pages hold, so that a common beginning is computed once.

A page's content is known by a hash chained over its tokens and all pages before it. Pages that nobody uses keep their
content until their room is needed, least recently used first. Knows nothing about tensors.
"""

from collections import OrderedDict
from dataclasses import dataclass

from model.cache import PAGE
from model.sequence import TokenSequence, chain


@dataclass(frozen=True, slots=True)
class _Content:
    parent: bytes
    """hash of everything before the page"""
    tokens: tuple[int, ...]
    """at most PAGE; fewer in the last page of a sequence that ended"""

    @property
    def digest(self) -> bytes:
        return chain(self.parent, self.tokens)


@dataclass(frozen=True, slots=True)
class Copy:
    """What a page has in common with another is copied into it, before anything else is written there."""

    source: int
    target: int


class Blocks:
    """Pages 0 to `count` - 1, with the number of users of each."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._users = [0] * count
        self._empty = set(range(count))
        self._idle: OrderedDict[int, None] = OrderedDict()  # known content without users, least recently used first
        self._content: dict[int, _Content] = {}
        self._full: dict[bytes, int] = {}
        self._children: dict[bytes, dict[int, None]] = {}

    @property
    def available(self) -> int:
        """Pages that can be had: empty ones, and idle ones at the price of their content."""
        return len(self._empty) + len(self._idle)

    def known(self, sequence: TokenSequence) -> int:
        """Full pages of `sequence` from its beginning on whose content is here."""
        most = (len(sequence.tokens) - 1) // PAGE  # the last token is always read again, for its hidden state
        return next((n for n in range(most) if sequence.digest(n + 1) not in self._full), most)

    def open(self, sequence: TokenSequence) -> Copy | None:
        """Give `sequence` what is here of its beginning, and count those tokens as held.

        Full pages are shared. A page that agrees in part is taken over where nobody would miss the rest, else it is to
        be copied. A predictor knows each token with the one after it, so where there is one the last token that is
        here is read again, into a page of the sequence's own.
        """
        full = self.known(sequence)
        source, common = self._nearest(sequence, full)
        held = max(full * PAGE + common - (sequence.followed is not None), 0)
        if held < full * PAGE:
            full -= 1
            source = self._full[sequence.digest(full + 1)]
        sequence.held, sequence.recorded = held, full
        sequence.pages = [self._full[sequence.digest(n + 1)] for n in range(full)]
        for page in sequence.pages:
            self._use(page)
        copy = None
        if source is not None and held % PAGE:
            if source in self._idle and len(self._content[source].tokens) == common:
                self._use(source)
                self._forget(source)
                sequence.pages.append(source)
            elif (target := self._take(sequence.pages, keep=source)) is not None:
                copy = Copy(source, target)
                if source in self._idle:
                    self._idle.move_to_end(source)
                sequence.pages.append(target)
            else:
                sequence.held = full * PAGE
        if sequence.followed is not None:
            sequence.followed = sequence.held
        return copy

    def grow(self, sequence: TokenSequence, tokens: int) -> bool:
        """Pages for the first `tokens` of `sequence`; False, and nothing done, where there are not enough."""
        missing = -(-tokens // PAGE) - len(sequence.pages)
        if missing > self.available:
            return False
        for _ in range(missing):
            page = self._take(sequence.pages)
            assert page is not None  # enough are available
            sequence.pages.append(page)
        return True

    def record(self, sequence: TokenSequence) -> None:
        """Make known the pages that were filled since last time."""
        while sequence.recorded < sequence.reusable // PAGE:
            number = sequence.recorded
            tokens = tuple(sequence.tokens[number * PAGE : (number + 1) * PAGE])
            self._know(sequence.pages[number], _Content(sequence.digest(number), tokens))
            sequence.recorded += 1

    def close(self, sequence: TokenSequence) -> None:
        """Take the pages of `sequence` back; what they hold stays known for as long as there is room."""
        self.record(sequence)
        full, rest = divmod(sequence.reusable, PAGE)
        if rest:
            tokens = tuple(sequence.tokens[full * PAGE : sequence.reusable])
            children = self._children.get(sequence.digest(full), {})
            if not any(self._content[page].tokens[:rest] == tokens for page in children):
                self._know(sequence.pages[full], _Content(sequence.digest(full), tokens))
        for page in reversed(sequence.pages):  # of a chain, the end is given up first
            self._users[page] -= 1
            if self._users[page]:
                continue
            if page in self._content:
                self._idle[page] = None
            else:
                self._empty.add(page)
        sequence.pages, sequence.held, sequence.recorded, sequence.drafts = [], 0, 0, []

    def _nearest(self, sequence: TokenSequence, full: int) -> tuple[int | None, int]:
        """The page that has most tokens in common with what follows the first `full` pages of `sequence`; how many."""
        start = full * PAGE
        wanted = tuple(sequence.tokens[start : min(start + PAGE, len(sequence.tokens) - 1)])
        best, most = None, 0
        for page in self._children.get(sequence.digest(full), {}):
            tokens = self._content[page].tokens
            if tokens[: most + 1] != wanted[: most + 1]:
                continue
            limit = min(len(tokens), len(wanted))
            common = next((n for n in range(limit) if tokens[n] != wanted[n]), limit)
            if common > most:
                best, most = page, common
        return best, most

    def _take(self, pages: list[int], keep: int | None = None) -> int | None:
        """A page for what follows `pages`, not `keep`: an empty one, else the idle one that waited longest."""
        if self._empty:
            # Neighbours are read without a copy.
            page = pages[-1] + 1 if pages and pages[-1] + 1 in self._empty else self._gap()
            self._empty.remove(page)
        else:
            found = next((page for page in self._idle if page != keep), None)
            if found is None:
                return None
            page = found
            del self._idle[page]
            self._forget(page)
        self._users[page] = 1
        return page

    def _gap(self) -> int:
        """Where a new run of pages can grow: the longest empty stretch, its second half where another grows into it."""
        runs: list[list[int]] = []
        for page in sorted(self._empty):
            if runs and runs[-1][-1] == page - 1:
                runs[-1].append(page)
            else:
                runs.append([page])
        longest = max(runs, key=len)
        shared = longest[0] > 0 and self._users[longest[0] - 1] > 0
        return longest[len(longest) // 2 if shared else 0]

    def _use(self, page: int) -> None:
        self._idle.pop(page, None)
        self._users[page] += 1

    def _know(self, page: int, content: _Content) -> None:
        if len(content.tokens) == PAGE:
            if content.digest in self._full:  # another sequence computed the same meanwhile
                return
            self._full[content.digest] = page
        self._content[page] = content
        self._children.setdefault(content.parent, {})[page] = None

    def _forget(self, page: int) -> None:
        content = self._content.pop(page)
        if len(content.tokens) == PAGE:
            del self._full[content.digest]
        siblings = self._children[content.parent]
        del siblings[page]
        if not siblings:
            del self._children[content.parent]
