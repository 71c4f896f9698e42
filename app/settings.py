"""All settings in one object: a flag over the environment over `config.toml` over the default.

Each room owns its group; this module composes them, and turns every violation into one error that names the key, where
it was set, and the nearest key that exists.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from app.errors import BadSettings
from app.settings_assistant import AssistantSettings
from app.settings_resident import ResidentSettings
from memory.settings import MemorySettings
from model.settings import ModelSettings
from retrieval.settings import RetrievalSettings

PREFIX = "LOCI_"
NOT_SETTINGS = frozenset({"LOCI_HOME", "LOCI_PROFILE", "LOCI_DEBUG", "LOCI_EVAL"})
"""Environment variables that share the prefix: they choose a profile or serve developers."""


class Settings(BaseSettings):
    """Everything a user can set. In `config.toml` a group is a table; in the environment `LOCI_GROUP__KEY`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=False
    )

    retrieval: RetrievalSettings = Field(default_factory=RetrievalSettings)
    memory: MemorySettings = Field(default_factory=MemorySettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    assistant: AssistantSettings = Field(default_factory=AssistantSettings)
    resident: ResidentSettings = Field(default_factory=ResidentSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(config: Path, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force, given a `config.toml` that need not exist and flags by dotted key (`model.device`).

    :raises BadSettings: for an unknown key or an impossible value, all violations in one message.
    """
    given = _nested({key: value for key, value in (flags or {}).items() if value is not None})
    _refuse_unknown_variables()

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    try:
        return FromFile(**given)
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(
            f"{config} is not valid TOML: {error}.", "Correct that line, or move the file away."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{config} cannot be read: {error}.", "Correct or remove the file.") from None
    except ValidationError as error:
        said: dict[str, list[str]] = {}  # by key and place: a value of several types has a complaint for each
        for problem in error.errors():
            where, message = _explain(problem["loc"], problem["type"], problem["msg"], config, given)
            said.setdefault(where, []).append(message)
        text = "; ".join(where + " or ".join(messages) for where, messages in said.items())
        raise BadSettings(text if text.endswith("?") else f"{text}.") from None
    except ValueError as error:  # pydantic-settings: an environment variable of a group that is not JSON
        raise BadSettings(f"The environment cannot be read: {error}.", "Set single keys as LOCI_GROUP__KEY.") from None


def keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings, groups before what is in them."""
    for name, field in model.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{prefix}{name}.")


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, leaf = key.split(".")
        table = nested
        for group in groups:
            table = table.setdefault(group, {})
        table[leaf] = value
    return nested


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores variables that it does not know, so a typing error would go unseen."""
    known = {PREFIX + key.upper().replace(".", "__"): key for key in keys()}
    for variable in sorted(os.environ):
        name = variable.upper()
        if name.startswith(PREFIX) and name not in known and name not in NOT_SETTINGS:
            raise BadSettings(
                f"The environment variable {variable} is no setting.", _nearest(name, [*known, *NOT_SETTINGS])
            )


def _explain(
    loc: tuple[int | str, ...], kind: str, message: str, config: Path, flags: Mapping[str, Any]
) -> tuple[str, str]:
    """Which setting, set where; and what is wrong with it."""
    if kind != "extra_forbidden":  # where a value may be of several types, each adds its name
        loc = next((loc[:end] for end in range(len(loc), 0, -1) if ".".join(map(str, loc[:end])) in {*keys()}), loc)
    key = ".".join(str(part) for part in loc)
    variable = PREFIX + key.upper().replace(".", "__")
    where = (
        "on the command line" if _has(flags, loc) else f"in {variable}" if variable in os.environ else f"in {config}"
    )
    if kind == "extra_forbidden":
        return f"{key} ({where}) ", f"is no setting. {_nearest(key, list(keys()))}".rstrip(".")
    return f"{key} ({where}): ", message


def _has(table: Mapping[str, Any], loc: tuple[int | str, ...]) -> bool:
    for part in loc:
        if not isinstance(table, Mapping) or part not in table:
            return False
        table = table[str(part)]
    return True


def _nearest(key: str, known: list[str]) -> str:
    found = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"Did you mean {found[0]}?" if found else "See docs/CLI.md for the settings."
