"""Sentences that no source supports are written anew, one by one; what finds no support in its rounds is left out.

The rest of the draft stays as it is. The request goes on from the prompt and the draft, so that an engine which keeps
what it read reads a few words. How often the model is asked depends on the draft's sentences and the rounds alone,
whatever the passages say.
"""

import re
from collections.abc import Callable, Generator, Sequence

from app import prompts
from app.answer import Started, TurnEvent
from app.claims import split_reasoning
from app.grounding import Checked
from model.engine import Delta, Engine, Finished, Message, Request, Sampling, Usage

SENTENCES = 6
"""Most sentences of one draft that are written anew; further ones stay marked."""
_TOKENS = 120
"""Longest new sentence."""
_WARM = 0.7
"""Temperature from the second round on: the first is greedy, and would only be repeated."""


def mended(
    engine: Engine,
    messages: Sequence[Message],
    draft: Checked,
    check: Callable[[str], Checked],
    rounds: int,
    seed: int,
    spend: Callable[[Usage], None],
) -> Generator[TurnEvent, None, str]:
    """The draft's text with each unsupported sentence rewritten in at most `rounds` tries, or left out.

    Where nothing of the draft is supported, none is left out: the check that follows marks them. Closing the generator
    cancels.

    :param messages: the prompt that the draft answers.
    :param check: holds a text to the sources of that prompt.
    :param spend: told of the tokens of each try.
    """
    text = draft.answer
    bad = sorted(draft.unsupported)[:SENTENCES]
    for number, (start, end) in enumerate(reversed(bad)):  # from the last, so that offsets hold
        yield Started("mend", number, len(bad))
        said = text[start:end]
        asked = (*messages, Message("assistant", draft.answer), Message("user", prompts.mend(said)))
        new = ""
        for tried in range(rounds):
            if engine.count_tokens(asked) + _TOKENS > engine.describe().context:
                break
            sampling = Sampling(temperature=_WARM if tried else 0.0, seed=seed + tried, max_tokens=_TOKENS)
            written = ""
            for event in engine.generate(Request(asked, sampling)):
                if isinstance(event, Delta) and not event.reasoning:
                    written += event.text
                elif isinstance(event, Finished):
                    spend(event.usage)
            written = " ".join(split_reasoning(written)[0].split())
            held = check(written)
            if held.supported and not held.unsupported and not held.refused:
                new = written
                break
        if new or draft.supported:
            text = _put(text, start, end, new)
    return text


def _put(text: str, start: int, end: int, new: str) -> str:
    """`new` in the place of `text[start:end]`; where it is empty, without the bullet or the spaces around it."""
    before, after = text[:start], text[end:]
    if not new:
        before = re.sub(r"(?:^|(?<=\n))[ \t]*(?:[-*+•–]|\d{1,3}[.)])[ \t]+$", "", before)
        after = after.lstrip(" \t") if not before or before.endswith(("\n", " ")) else after
        after = after.removeprefix("\n") if not before or before.endswith("\n") else after
    return f"{before}{new}{after}".strip()
