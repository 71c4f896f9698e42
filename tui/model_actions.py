"""The model: what it is, and another in its place without leaving the chat."""

from pathlib import Path

from app.model_plan import PlanLines
from tui.failures import Failure
from tui.panes import PaneActions
from tui.rows import ModelRow
from tui.widgets.dialogs import Confirm
from tui.widgets.status import StatusLine
from tui.words import at_home, model_line, model_note


class ModelActions(PaneActions):
    """The action takes the text after its slash command, if any."""

    def action_model(self, argument: str = "") -> None:
        if argument:
            self._plan(str(Path(argument).expanduser()) if argument.startswith("~") else argument)
            return

        def known() -> tuple[ModelRow, list[str]]:
            return self.backend.model(self._model_loading), self.backend.models()

        async def told(found: tuple[ModelRow, list[str]]) -> None:
            model, references = found
            self._model_loaded(model)
            others = [one for one in references if one != model.reference]
            lines = [
                f"reference     {model.reference}",
                f"architecture  {model.architecture}, {model.quantization}",
                f"window        {model.context:,} tokens",
                f"runs on       {', '.join(model.devices)} ({model.engine})",
                *([f"note          {note}"] if (note := model_note(model)) else []),
                f"others here   {', '.join(others) or 'none'}; /model REF switches",
            ]
            await self.say(model_line(model), "\n".join(lines))

        self.job("model", known, told, self._model_failed)

    def _plan(self, reference: str) -> None:
        """Say what the other model would take, and ask, before anything is loaded."""
        if self.state.run is not None:
            self.notify("Still answering. Esc stops it.", severity="warning")
            return

        async def planned(plan: PlanLines) -> None:
            if plan.fits is False:
                await self.say(plan.name, "\n".join(plan.lines), "error")
                return

            def answered(yes: bool | None) -> None:
                if yes:
                    self._switch(reference)

            asked = Confirm(f"Load {plan.name}?", "\n".join(plan.lines), "y loads it · n or Esc keeps the one in use")
            await self.push_screen(asked, answered)

        self.job("plan", lambda: self.backend.plan(reference), planned)

    def _switch(self, reference: str) -> None:
        self.query_one(StatusLine).show_loading(at_home(reference))

        async def loaded(model: ModelRow) -> None:
            self._model_loaded(model)
            await self.say("Answers from here on", model_line(model), "good")

        self.job("model", lambda: self.backend.use_model(reference, self._model_loading), loaded, self._kept_model)

    async def _kept_model(self, failure: Failure) -> None:
        """The other model could not be loaded; the one before answers as before, and no question need wait for it."""
        self.query_one(StatusLine).show_model(self.state.model)
        await self.show_failure(failure)
        self.load_model()
