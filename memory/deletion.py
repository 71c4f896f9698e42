"""Deletion for good from one store: rows, what repeats them, and their bytes in the file."""

from collections.abc import Sequence

import sqlalchemy as sa

from memory import records
from memory.ended import GoneSession, purge_session
from memory.erase import GoneDocument, nowhere, purge, purge_document
from memory.schema import FTS_TABLES, memories
from memory.sessions import SessionLog
from memory.types import NOTHING, Elsewhere, Purged
from retrieval.scrub import scrub
from retrieval.sqlite import writing


class DeletionDesk(SessionLog):
    """The part of `MemoryStore` that really deletes; what can be restored is forgotten elsewhere."""

    def purge(self, *memory_ids: int, elsewhere: Elsewhere = nowhere, dry_run: bool = False) -> Purged:
        """Really delete memories: rows, earlier wordings, what they superseded, vectors and full text; and their words
        wherever turns or other memories repeat them, be it in the second person.

        `elsewhere` tells of words that are kept in places this store does not see. `dry_run` deletes nothing and tells
        what would go.
        Raises NoSuchMemory, and DatabaseProblem while another process keeps the file from being rewritten.
        """
        with writing(self.engine) as connection:
            for memory_id in memory_ids:
                records.get(connection, memory_id)
            purged = purge(connection, memory_ids, elsewhere=elsewhere)
            if dry_run:
                connection.rollback()
        if not dry_run:
            self.scrub()
        return purged

    def delete_session(self, session_id: int, *, elsewhere: Elsewhere = nowhere, dry_run: bool = False) -> Purged:
        """Really delete a session: turns, feedback, its episodes (they are its words), their bytes in the file.

        Facts learned from it stay, without their provenance; `forget` or `purge` them by themselves.
        Raises NoSuchSession, and DatabaseProblem as `purge` does.
        """
        gone = GoneSession(session_id, self.session(session_id).started)
        with writing(self.engine) as connection:
            purged = purge_session(connection, gone, elsewhere)
            if dry_run:
                connection.rollback()
        if not dry_run:
            self.scrub()
        return purged or NOTHING

    def erase(
        self,
        texts: Sequence[str],
        documents: Sequence[GoneDocument],
        sessions: Sequence[GoneSession] = (),
        *,
        elsewhere: Elsewhere = nowhere,
        dry_run: bool = False,
    ) -> list[Purged]:
        """Delete whatever says one of `texts`, what turns have of deleted `documents`, and `sessions`; may be done
        again.

        The freed bytes stay in the file until `scrub`. `dry_run` deletes nothing and tells what would go.
        """
        with writing(self.engine) as connection:
            known = connection.execute(sa.select(memories.c.id).where(memories.c.text.in_(texts))).scalars().all()
            said = [purge(connection, known, texts, elsewhere)] if texts else []
            ended = [purged for one in sessions if (purged := purge_session(connection, one, elsewhere))]
            erased = [*said, *(purge_document(connection, one, elsewhere) for one in documents), *ended]
            if dry_run:
                connection.rollback()
            return erased

    def scrub(self) -> None:
        """Rewrite memory.db without the bytes of what was deleted. Raises DatabaseProblem as `purge` does."""
        scrub(self.engine, FTS_TABLES)
