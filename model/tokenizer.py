"""A checkpoint's own tokenizer and chat template. Knows nothing about tensors or sampling."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.chat_template import ChatTemplate
from model.engine import Message, Prompt
from model.errors import BadCheckpoint, UnsupportedConstraint, why
from model.files import read_object

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_HALVES = re.compile(r"[\ud800-\udfff]")
THINK, END_THINK = "<think>", "</think>"


class Tokenizer:
    """`tokenizer.json` exactly as published, `tokenizer_config.json` for the special tokens, and the chat template.

    :raises BadCheckpoint: naming the file that is missing or unreadable.
    """

    def __init__(self, folder: Path) -> None:
        import tokenizers

        file = folder / "tokenizer.json"
        if not file.exists():
            if (folder / "tiktoken.model").exists():
                raise BadCheckpoint(
                    f"{folder} has its vocabulary as tiktoken.model, which is not read, and no tokenizer.json.",
                    "Make one with TikTokenConverter of transformers, with the pattern and special tokens that the "
                    "tokenization_*.py beside it names, or take it from a copy of the model that has one.",
                )
            raise BadCheckpoint(f"{folder} has no tokenizer.json.", "Download the whole model folder.")
        try:
            self._inner = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the package raises nothing narrower
            raise BadCheckpoint(f"{file} cannot be read: {why(error)}.") from error
        self._inner.no_padding()
        self._inner.no_truncation()
        self._file = file
        self.vocab_size = max(self._inner.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        """Largest token id plus one."""
        if not self.vocab_size:
            raise BadCheckpoint(f"{file} has no tokens.", "Download the whole model folder.")
        settings = read_object(folder / "tokenizer_config.json")
        self.bos_token = _token_text(settings.get("bos_token"))
        self.eos_token = _token_text(settings.get("eos_token"))
        added = self._inner.get_added_tokens_decoder()
        source = template_source(folder, settings)
        self._template = None
        if source is not None:
            control = [token.content for token in added.values() if _is_control(token.content)]
            self._template = ChatTemplate(source, str(folder), self.bos_token or "", self.eos_token or "", control)
        self._guides: dict[frozenset[int], LLTokenizer] = {}
        self._last: tuple[str, list[int]] = "", []
        self.special_ids = frozenset(number for number, token in added.items() if token.special)
        self.think_ids = frozenset(
            number for tag in (THINK, END_THINK) if (number := self._inner.token_to_id(tag)) is not None
        )

    @property
    def eos_id(self) -> int | None:
        return None if self.eos_token is None else self._inner.token_to_id(self.eos_token)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` as it stands: nothing is added, and special tokens written in it count as such.

        Halves of surrogate pairs, which JSON can hold and no encoding can, count as U+FFFD. The last text's ids are
        kept: a long prompt (0.3 s for 128K tokens) is first counted and then read.

        :raises BadCheckpoint: the vocabulary has no tokens for it.
        """
        if text != self._last[0]:
            try:
                ids = self._inner.encode(_HALVES.sub("\ufffd", text), add_special_tokens=False).ids
            except Exception as error:  # the package raises nothing narrower
                raise BadCheckpoint(f"{self._file} cannot encode this text: {error}.") from error
            self._last = text, ids
        return list(self._last[1])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` without special tokens, thinking tags apart; incomplete characters appear as U+FFFD."""
        if self.think_ids & self.special_ids and not self.think_ids.isdisjoint(ids):
            shown = [number for number in ids if number not in self.special_ids or number in self.think_ids]
            return str(self._inner.decode(shown, skip_special_tokens=False))
        return str(self._inner.decode(list(ids), skip_special_tokens=True))

    def guide(self, ends: frozenset[int]) -> "LLTokenizer":
        """The vocabulary as llguidance knows it, made once; `ends` are the tokens that end an output.

        :raises UnsupportedConstraint: it cannot read this kind of tokenizer.
        """
        if ends not in self._guides:
            from llguidance import LLTokenizer  # 50 ms

            try:  # 3 ms per 1000 tokens
                made = LLTokenizer(self._inner.to_str(), n_vocab=self.vocab_size, eos_token=sorted(ends))
            except ValueError as error:
                raise UnsupportedConstraint(f"Constraints cannot be kept with this tokenizer: {error}.") from error
            self._guides[ends] = made
        return self._guides[ends]

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt in any of its forms.

        Control tokens written inside a message are broken up, so that the text of a document cannot open or close a
        turn.

        :raises BadCheckpoint: messages, but no chat template, or one that fails on them.
        """
        if isinstance(prompt, str):
            return self.encode(prompt)
        if not prompt:
            return []
        messages = [one for one in prompt if isinstance(one, Message)]
        if len(messages) == len(prompt):
            return self.encode(self.render(messages))
        return [number for number in prompt if isinstance(number, int)]

    def render(self, messages: Sequence[Message]) -> str:
        """The chat as the model was trained to see it, up to where its answer begins."""
        if self._template is None:
            raise BadCheckpoint("The model has no chat template.", "Give it plain text, or use a chat model.")
        return self._template.render(messages)


def _is_control(token: str) -> bool:
    bracketed = len(token) > 2 and token[0] + token[-1] in ("<>", "[]")
    return bracketed and token not in (THINK, END_THINK)


def has_chat_template(folder: Path) -> bool:
    return template_source(folder, read_object(folder / "tokenizer_config.json")) is not None


def _token_text(value: Any) -> str | None:
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def template_source(folder: Path, settings: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.exists():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise BadCheckpoint(f"{file} cannot be read: {why(error)}.", "Download or copy it again.") from error
    found = settings.get("chat_template")
    if isinstance(found, list):  # several named templates
        named = [one.get("template") for one in found if isinstance(one, dict) and one.get("name") == "default"]
        found = named[0] if named else None
    return found if isinstance(found, str) else None
