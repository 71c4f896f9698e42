"""A question that is asked again under the same request, as a batch does after a kill: its turn is stored once."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from app.answer import Answer, Ask
from app.resident.wire import unpack

if TYPE_CHECKING:
    from memory.store import MemoryStore


def answered_before(memory: "MemoryStore | None", ask: Ask) -> Answer | None:
    """The answer that this request was given; None where it was given none, or only the beginning of one.

    It is as it was stored: without secrets of the question, and without what was deleted since.
    """
    if memory is None or ask.request is None:
        return None
    turn = memory.requested(ask.request)
    if turn is None or not turn.complete:
        return None
    stored = json.loads(turn.answer_json)
    del stored["schema"]
    return replace(unpack(Answer, stored), question=ask.question, session=turn.session, turn=turn.id)
