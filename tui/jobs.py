"""Work in threads, results on the screen: the one way in which the chat calls its backend."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from textual.app import App
from textual.worker import get_current_worker

from tui.failures import Failure, failure_of

T = TypeVar("T")


class Jobs(App[None]):
    """An application whose blocking calls run in exclusive thread workers and whose errors become messages."""

    def job(
        self,
        group: str,
        work: Callable[[], T],
        then: Callable[[T], Awaitable[None] | None],
        failed: Callable[[Failure], Awaitable[None] | None] | None = None,
    ) -> None:
        """Run `work` in a thread, then `then` with its result here; a newer job of the group voids this one's."""

        def run() -> None:
            worker = get_current_worker()
            try:
                result = work()
            except Exception as error:  # noqa: BLE001  the door of every worker: shown, never a crash
                if not worker.is_cancelled:
                    self.call_later(self._deliver, failed or self.show_failure, failure_of(error))
                return
            if not worker.is_cancelled:
                self.call_later(self._deliver, then, result)

        self.run_worker(run, group=group, exclusive=True, thread=True, exit_on_error=False)

    @property
    def is_on_screen(self) -> bool:
        """False once the chat is being left: what workers still bring then has nowhere to go."""
        return self.is_running and bool(self.screen_stack and self.screen_stack[0].children)

    async def _deliver(self, then: Callable[[Any], Awaitable[None] | None], result: object) -> None:
        if self.is_on_screen and (done := then(result)) is not None:
            await done

    def _handle_exception(self, error: Exception) -> None:
        """Textual's door for errors that nothing caught, each of which ends the application with a traceback.

        One that is being left takes its widgets apart while keys, timers and workers still come: what is not found
        then, is not missing.
        """
        if self._exit or (self._is_mounted and not self.is_running):
            return
        super()._handle_exception(error)

    async def show_failure(self, failure: Failure) -> None:
        raise NotImplementedError
