"""Small GGUF files for the tests: a random checkpoint with a trained tokenizer, exported by the project itself."""

import json
import shutil
from pathlib import Path

TEXT = [
    "The ferry leaves the quay at seven and returns at nine; nobody waits for it.",
    "It's the harbour master's boat, isn't it? They'll sail on 14 March 1868.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "def area(width, height):\n    return width * height  # square metres\n",
]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

DEEPSEEK_LLM = (
    r"[\r\n]",
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯ]+",  # the beginning of the class of cased letters
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"\s+$",
    r"[一-龥ࠀ-一가-퟿]+",
)


def with_tokenizer(checkpoint: Path, folder: Path, vocabulary: int, kind: str = "qwen2") -> Path:
    """A copy of the checkpoint in `folder` with a trained byte-level tokenizer of `vocabulary` entries."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    shutil.copytree(checkpoint, folder)
    special = ["<bos>", "<eos>", "<|system|>", "<|user|>", "<|assistant|>"]
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN2), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "gpt-2")
    stages = [byte_level] if kind == "gpt-2" else [split, byte_level]
    if kind == "deepseek-llm":
        parts = [pre_tokenizers.Split(Regex(part), behavior="isolated") for part in DEEPSEEK_LLM]
        stages = [*parts, pre_tokenizers.Digits(individual_digits=True), byte_level]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(stages)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"bos_token": "<bos>", "eos_token": "<eos>", "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(described), encoding="utf-8")
    return folder
