"""Violations of settings in words: each with its key, where it was set, its value, and what is allowed or meant."""

import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

_ALIKE = 0.7
"""Similarity of two names (difflib's ratio) from which one may be a misspelling of the other."""
_SHOWN = 60
"""Most characters of a value that are repeated."""


def violation(problem: ErrorDetails, groups: Mapping[str, type[BaseModel]], where: str) -> tuple[str, str]:
    """The key, and sentences for one of pydantic's complaints; those about one value's several types are the same.

    :param groups: each room's settings by the name of their table.
    :param where: where it was set, as in `in config.toml`.
    """
    group, *names = map(str, problem["loc"][:2])  # what follows names one of several types
    key = ".".join([group, *names])
    if problem["type"] == "extra_forbidden":
        known = [*groups, *(f"{name}.{field}" for name, room in groups.items() for field in room.model_fields)]
        return key, f"{key} ({where}) is no setting. {hint(meant(key, known))}"
    value = problem["input"]
    value = str(value).lower() if isinstance(value, bool) else str(value)
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
    wanted = expected(groups[group].model_fields[names[0]]) if names else f"a table: [{group}]"
    return key, f"{key} ({where}) is `{shown}`, but must be {wanted}."


def meant(key: str, known: Iterable[str]) -> str | None:
    """The key that a misspelt one may have meant, judged by their last parts: with their group all look alike."""
    by_name = {name.rpartition(".")[2]: name for name in known}
    found = difflib.get_close_matches(key.rpartition(".")[2], by_name, n=1, cutoff=_ALIKE)
    return by_name[found[0]] if found else None


def hint(name: str | None) -> str:
    """The sentence behind a name that is no setting."""
    return f"Did you mean {name}?" if name else "See docs/CLI.md for the settings."


def expected(field: FieldInfo) -> str:
    """What a setting may be, in words: `a whole number of at least 0 and at most 64 or auto`."""
    *first, last = _kinds(field.annotation, field.metadata)
    return f"{', '.join(first)} or {last}" if first else last


def takes(annotation: Any, *types_: type) -> bool:
    """Whether values of one of these types are among those of an annotation."""
    return annotation in types_ or any(takes(one, *types_) for one in get_args(annotation))


def _kinds(annotation: Any, bounds: Sequence[Any]) -> list[str]:
    """A phrase for each type that a value may be of."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return [kind for one in inner if one is not type(None) for kind in _kinds(one, bounds)]
    if origin is Annotated:
        return _kinds(inner[0], [bound for one in inner[1:] for bound in one.metadata])
    if origin is Literal:
        return list(map(str, inner))
    if annotation in (int, float):
        return [f"a {'whole ' if annotation is int else ''}number {_range(bounds)}".strip()]
    return ["true or false" if annotation is bool else "text"]


def _range(bounds: Sequence[Any]) -> str:
    """`of at least 0 and at most 64`, of the bounds that there are."""
    words = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}
    return " and ".join(
        f"{said} {getattr(bound, name):,.10g}"
        for bound in bounds
        for name, said in words.items()
        if hasattr(bound, name)
    )
