"""A byte-level BPE tokenizer trained on the corpus, with the pre-tokenizer that llama.cpp calls `qwen2`.

Single digits are tokens of their own, so that any number in a passage can be copied digit by digit.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from model.spanformat import BEGIN
from model.train.corpus import corpus_files, documents

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PRE_TOKENIZER = "qwen2"
"""llama.cpp's name for `PATTERN` (`tokenizer.ggml.pre` in a GGUF file)."""

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
END, PAD = "<|end|>", "<|pad|>"
BEGIN_ID, END_ID, PAD_ID = 0, 1, 2

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}Question: {{ message['content'] }}\n"
    "{% elif message['role'] == 'assistant' %}Answer: {{ message['content'] }}\n"
    "{% else %}{{ message['content'] }}\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}Answer:{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> "Tokenizer":
    """BPE of `vocabulary` entries: the three special tokens, the 256 bytes, then merges learned from `texts`.

    No normalizer, because llama.cpp applies none: the same text gives the same ids in both.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BEGIN, END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, BEGIN_ID)]
    )
    return tokenizer


def tokenizer_config(context: int) -> dict[str, object]:
    """The content of `tokenizer_config.json` for a tokenizer made by `train_tokenizer`."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "chat_template": CHAT_TEMPLATE,
    }


def sample(corpus: Path, characters: int) -> Iterator[str]:
    """Documents of the corpus, the first `characters` characters of them, one part after another."""
    taken = 0
    for file in corpus_files(corpus):
        for document in documents(file):
            yield document
            taken += len(document)
            if taken >= characters:
                return


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the tokenizer on a sample of the corpus.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="tokenizer.json to write")
    parser.add_argument("--vocabulary", type=int, default=16_256)
    parser.add_argument("--characters", type=int, default=40_000_000)
    arguments = parser.parse_args()
    train_tokenizer(sample(arguments.corpus, arguments.characters), arguments.vocabulary).save(str(arguments.out))


if __name__ == "__main__":
    main()
