"""The command palette's source: every action of the key map."""

from collections.abc import Awaitable
from functools import partial
from typing import Protocol, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from tui.keymap import ACTIONS, Action

OFFERED = tuple(action for action in ACTIONS if action.id != "palette")


class _Chat(Protocol):
    def perform(self, action: Action, argument: str = "") -> Awaitable[None]: ...


class Actions(Provider):
    """Offers all actions; one that needs an argument is put into the input line to be completed."""

    async def discover(self) -> Hits:
        for action in OFFERED:
            yield DiscoveryHit(_shown(action), self._run(action), text=action.title, help=action.tooltip)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for action in OFFERED:
            score = max(matcher.match(action.title), matcher.match(action.tooltip) * 0.8, matcher.match(action.slash))
            if score > 0:
                yield Hit(score, _shown(action), self._run(action), text=action.title, help=action.tooltip)

    def _run(self, action: Action) -> partial[Awaitable[None]]:
        return partial(cast(_Chat, self.app).perform, action)


def _shown(action: Action) -> str:
    keys = [action.usage.replace("[", r"\["), action.keys]
    return f"{action.title}   [dim]{'  '.join(key for key in keys if key)}[/dim]"
