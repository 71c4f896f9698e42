"""How a model of `model.engine` reads a user's message for `memory.reading`."""

import re
from collections.abc import Callable
from contextlib import closing

from app import prompts
from memory.reading import Complete
from model.engine import Delta, Engine, JsonSchema, Message, Request, Sampling

_TOKENS = 600
"""Of an answer: eight statements of two lines."""


class Wanted(Exception):
    """The engine is wanted for something more urgent; what it was reading is read another time."""


def reader(engine: Engine, wanted: Callable[[], bool] = lambda: False) -> Complete:
    """`engine` as memory calls it: greedy, its answer held to the schema where the engine can do so.

    What it returns raises `Wanted` once that is so.
    """
    constrained = "json_schema" in engine.describe().capabilities

    def complete(instructions: str, message: str, schema: str) -> str:
        told = instructions if constrained else f"{instructions}\nAnswer with JSON of this schema alone: {schema}"
        messages = (Message("system", told), Message("user", prompts.data(message)))
        constraint = JsonSchema(schema) if constrained else None
        written = ""
        with closing(engine.generate(Request(messages, Sampling(max_tokens=_TOKENS), constraint))) as events:
            for event in events:
                if wanted():
                    raise Wanted
                if isinstance(event, Delta) and not event.reasoning:
                    written += event.text
        return re.sub(r"<think>.*?(?:</think>|\Z)", "", written, flags=re.DOTALL)

    return complete
