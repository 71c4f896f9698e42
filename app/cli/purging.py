"""The receipt of a deletion for good, as `loci memory purge`, `loci library remove --purge` and `loci sessions
delete` print it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from app.cli.door import PARTIAL, leave, note, print_json, say

if TYPE_CHECKING:
    from app.purge import Receipt
    from app.workspace import Workspace


@contextmanager
def purging(
    opened: "Workspace", as_json: bool, dry_run: bool
) -> "Iterator[tuple[Callable[[Receipt], None], Receipt | None]]":
    """End what was interrupted, unless it is a trial; yields what to call with each receipt, and the receipt of what
    was interrupted, if anything was. Exit code 4 where traces are left.
    """
    from app.purge import resume, unfinished

    receipts: list[Receipt] = []

    def report(receipt: "Receipt") -> None:
        receipts.append(receipt)
        if not as_json:
            for line in lines(receipt, dry_run):
                say(line)

    earlier = None
    if dry_run and unfinished(opened.profile):
        note("A deletion that was interrupted waits for the next one, or for `loci doctor --fix`.")
    elif not dry_run and (earlier := resume(opened)):
        note("A deletion that was interrupted is done now.")
        report(earlier)
    yield report, earlier
    if as_json:
        print_json([asdict(receipt) | {"clean": receipt.clean} for receipt in receipts])
    if not all(receipt.clean for receipt in receipts):
        leave(PARTIAL)


def lines(receipt: "Receipt", dry_run: bool) -> Iterator[str]:
    """The receipt in words."""
    gone = [
        *_named("session", "sessions", receipt.ended),
        *_named("memory", "memories", receipt.memories),
        *_named("document", "documents", receipt.documents),
        *_named("words in turn", "words in turns", receipt.turns),
        *_named("title of session", "titles of sessions", receipt.sessions),
        *_named("feedback", "feedback", receipt.feedback),
    ]
    yield f"{'Would delete' if dry_run else 'Deleted for good'}: {'; '.join(gone) or 'nothing'}."
    if dry_run:
        return
    for backup in receipt.backups:
        yield f"Written anew without it: {backup}"
    yield (
        f"Searched {receipt.files} files ({receipt.bytes / 1e6:.1f} MB) for {_counted(receipt.texts, 'text')} and "
        f"{_counted(receipt.words, 'word')} that stood nowhere else: "
        f"{'no trace is left.' if receipt.clean else 'traces are left!'}"
    )
    for left in receipt.left:
        yield f"  {'kept, says the same' if left.kept else 'left'}: {left.place}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _named(one: str, several: str, ids: Sequence[object]) -> list[str]:
    return [f"{one if len(ids) == 1 else several} {', '.join(map(str, ids))}"] if ids else []
