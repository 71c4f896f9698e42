"""Sampling and constraints of a request as llama.cpp takes them: a chain of its samplers, and GBNF.

Knows nothing about loaded models.
"""

from collections.abc import Sequence

from model.engine import Choice, Constraint, Grammar, JsonSchema, Sampling
from model.errors import UnsupportedConstraint
from model.gbnf import choice_to_gbnf
from model.llama_native import Stage


def stages_of(sampling: Sampling, prompt: Sequence[int], size: tuple[int, int]) -> list[Stage]:
    """llama.cpp's samplers for our settings, in our order; `size`: vocabulary, and how far penalties look back."""
    stages: list[Stage] = []
    if sampling.repetition_penalty != 1:
        stages.append(Stage("penalties", (*size, sampling.repetition_penalty, 0.0, 0.0), prompt))
    if sampling.frequency_penalty or sampling.presence_penalty:
        stages.append(Stage("penalties", (*size, 1.0, sampling.frequency_penalty, sampling.presence_penalty)))
    if sampling.temperature <= 0:
        return [*stages, Stage("greedy")]
    stages.append(Stage("temp", (sampling.temperature,)))
    if sampling.top_k:
        stages.append(Stage("top_k", (sampling.top_k,)))
    if sampling.top_p < 1:
        stages.append(Stage("top_p", (sampling.top_p, 1)))
    if sampling.min_p:
        stages.append(Stage("min_p", (sampling.min_p, 1)))
    return [*stages, Stage("dist", (sampling.seed & 0xFFFFFFFF,))]


def grammar_of(constraint: Constraint | None) -> str | None:
    """Every constraint as GBNF.

    :raises UnsupportedConstraint: no options, or a schema that cannot be read.
    """
    match constraint:
        case None:
            return None
        case Grammar(gbnf):
            return gbnf
        case Choice(options):
            if not options or not all(options):
                raise UnsupportedConstraint("A choice needs at least one option, and none of them empty.")
            return choice_to_gbnf(options)
        case JsonSchema(schema):
            from llama_cpp.llama_grammar import json_schema_to_gbnf

            try:
                return str(json_schema_to_gbnf(schema))
            except Exception as error:
                raise UnsupportedConstraint(f"The JSON schema cannot be turned into a grammar: {error}.") from error
