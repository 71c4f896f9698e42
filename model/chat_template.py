"""Chat templates: Jinja text that ships with a model, rendered in a sandbox. Knows nothing about tokens' ids."""

import json
from collections.abc import Sequence
from typing import Any

from model.engine import Message
from model.errors import BadCheckpoint, why


class ChatTemplate:
    """One model's template with its special tokens.

    `control` are the tokens that steer the model; where a message contains one, it is broken up, so that the text of a
    document cannot open or close a turn.

    :raises BadCheckpoint: the template cannot be read; `where` is named.
    """

    def __init__(self, source: str, where: str, bos_token: str, eos_token: str, control: Sequence[str]) -> None:
        import jinja2  # 40 ms
        import jinja2.ext
        import jinja2.sandbox

        self._special = {"bos_token": bos_token, "eos_token": eos_token}
        self._where = where
        self._control = sorted(control, key=len, reverse=True)
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
        )
        environment.globals["raise_exception"] = _refuse
        environment.filters["tojson"] = _to_json
        try:
            self._template = environment.from_string(source)
        except Exception as error:  # a template is a stranger's program, and fails as it likes
            raise BadCheckpoint(f"The chat template of {where} cannot be read: {why(error)}.") from error

    def render(self, messages: Sequence[Message]) -> str:
        """The chat as the model was trained to see it, up to where its answer begins.

        :raises BadCheckpoint: the template refuses the conversation.
        """
        rows = [{"role": message.role, "content": self._defuse(message.content)} for message in messages]
        try:
            return str(self._template.render(messages=rows, add_generation_prompt=True, **self._special))
        except Exception as error:  # as above
            raise BadCheckpoint(f"The chat template of {self._where} refuses this conversation: {error}.") from error

    def _defuse(self, content: str) -> str:
        for token in self._control:
            if token in content:
                content = content.replace(token, f"{token[0]}\u200b{token[1:]}")
        return content


def _refuse(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, **options)
