"""What OpenAI-compatible servers call what OpenAI's API has no name for: grammars, choices, the window.

A server is told by its model's `owned_by`; of one that is not known, only what the API itself has is used.
"""

from typing import Any, Literal

from model.engine import Capability, Choice, Constraint, Grammar
from model.gbnf import choice_to_gbnf

Dialect = Literal["vllm", "sglang", "llama.cpp", "plain"]

_OWNERS: dict[str, Dialect] = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp", "me": "llama.cpp"}
"""`me` is llama-cpp-python's server, which takes the same fields."""


def dialect_of(model: dict[str, Any]) -> Dialect:
    """The dialect of the server that describes `model` so in its list."""
    return _OWNERS.get(str(model.get("owned_by")), "plain")


ECHOES: frozenset[Dialect] = frozenset({"vllm", "sglang"})
"""They tell the log-probabilities of a text that they are given. So does llama-cpp-python's server, but one token late
where a model has no start token."""


def capabilities(dialect: Dialect) -> frozenset[Capability]:
    return frozenset({"chat", "json_schema"} if dialect == "plain" else {"chat", "json_schema", "choice", "grammar"})


def constraint_fields(dialect: Dialect, constraint: Constraint) -> dict[str, Any] | None:
    """What the request says to hold the answer to a choice or a grammar; None where this server has no word for it.

    All three read llama.cpp's grammar format: vLLM and SGLang by XGrammar, which is their default.
    """
    match dialect, constraint:
        case "vllm", Choice(options):
            return {"structured_outputs": {"choice": list(options)}}
        case "vllm", Grammar(gbnf):
            return {"structured_outputs": {"grammar": gbnf}}
        case "sglang", Choice() | Grammar():
            return {"ebnf": _gbnf(constraint)}
        case "llama.cpp", Choice() | Grammar():
            return {"grammar": _gbnf(constraint)}
    return None


def window(model: dict[str, Any]) -> int | None:
    """Tokens of prompt and answer together, as the list of models says: vLLM and SGLang, then llama.cpp."""
    meta = model.get("meta")
    told = (model.get("max_model_len"), meta.get("n_ctx") if isinstance(meta, dict) else None)
    return next((length for length in told if isinstance(length, int) and length > 0), None)


def window_of_props(props: Any) -> int | None:
    """The same, from llama.cpp's /props: that of one slot."""
    found = props.get("default_generation_settings") if isinstance(props, dict) else None
    length = found.get("n_ctx") if isinstance(found, dict) else None
    return length if isinstance(length, int) and length > 0 else None


def trained_window(model: dict[str, Any]) -> int | None:
    """What the model was made for, where llama.cpp says so and not how it runs."""
    meta = model.get("meta")
    length = meta.get("n_ctx_train") if isinstance(meta, dict) else None
    return length if isinstance(length, int) and length > 0 else None


def _gbnf(constraint: Choice | Grammar) -> str:
    if isinstance(constraint, Grammar):
        return constraint.gbnf
    return choice_to_gbnf(constraint.options)
