"""All settings in one object: a flag over the environment over `config.toml` over the default.

Each room owns its group; this module composes them, and turns every violation into one error that names the key, where
it was set, and the nearest key that exists.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from app.errors import BadSettings
from app.keys import DESCRIPTOR, PASSPHRASE
from app.settings_assistant import AssistantSettings
from app.settings_chat import ChatSettings
from app.settings_errors import hint, meant, takes, violation
from app.settings_resident import ResidentSettings
from app.settings_serve import ServeSettings
from memory.settings import MemorySettings
from model.errors import why
from model.settings import ModelSettings
from retrieval.settings import RetrievalSettings

PREFIX = "LOCI_"
NOT_SETTINGS = frozenset({"LOCI_HOME", "LOCI_PROFILE", "LOCI_DEBUG", "LOCI_EVAL", PASSPHRASE, DESCRIPTOR})
"""Environment variables that share the prefix: they choose or unlock a profile, or serve developers."""


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
    chat: ChatSettings = Field(default_factory=ChatSettings)
    serve: ServeSettings = Field(default_factory=ServeSettings)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, group: Any, info: ValidationInfo) -> Any:
        """Pydantic would read `speculate = false` as 0; as a word it is refused like any other."""
        if not isinstance(group, dict):
            return group
        fields = _groups()[str(info.field_name)].model_fields
        return {
            name: str(value).lower()
            if isinstance(value, bool) and name in fields and not takes(fields[name].annotation, bool, str)
            else value
            for name, value in group.items()
        }

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
        raise BadSettings(f"{config} cannot be read: {why(error)}.", "Correct or remove the file.") from None
    except ValidationError as error:
        environment = EnvSettingsSource(Settings)()
        said: dict[str, str] = {}  # by key: a value of several types has a complaint for each
        for problem in error.errors():
            where = _place(problem["loc"][:2], config, given, environment)
            said.update([violation(problem, _groups(), where)])
        raise BadSettings(" ".join(said.values())) from None
    except ValueError as error:  # pydantic-settings: an environment variable of a group that is not JSON
        raise BadSettings(f"The environment cannot be read: {error}.", "Set single keys as LOCI_GROUP__KEY.") from None


def keys() -> Iterator[str]:
    """Dotted names of all settings, groups before what is in them."""
    for name, group in _groups().items():
        yield name
        yield from (f"{name}.{field}" for field in group.model_fields)


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, leaf = key.split(".")
        table = nested
        for group in groups:
            table = table.setdefault(group, {})
        table[leaf] = value
    return nested


def _groups() -> dict[str, type[BaseModel]]:
    """Each room's settings by the name of their table."""
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores variables that it does not know, so a typing error would go unseen."""
    known = {key: variable_of(key) for key in keys()} | {
        name.removeprefix(PREFIX).lower(): name for name in NOT_SETTINGS
    }
    for variable in sorted(os.environ):
        name = variable.upper()
        if name.startswith(PREFIX) and name not in known.values():
            near = meant(name.removeprefix(PREFIX).replace("__", ".").lower(), known)
            raise BadSettings(f"The environment variable {variable} is no setting.", hint(near and known[near]))


def variable_of(key: str) -> str:
    """The environment variable of a dotted key."""
    return PREFIX + key.upper().replace(".", "__")


def _place(loc: tuple[int | str, ...], config: Path, flags: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """Where a setting, or a name that is none, was set."""
    if _has(flags, loc):
        return "on the command line"
    if not _has(environment, loc):
        return f"in {config}"
    own = variable_of(".".join(map(str, loc)))
    return f"in {own if own in map(str.upper, os.environ) else variable_of(str(loc[0]))}"


def _has(table: Mapping[str, Any], loc: tuple[int | str, ...]) -> bool:
    for part in loc:
        if not isinstance(table, Mapping) or part not in table:
            return False
        table = table[str(part)]
    return True
