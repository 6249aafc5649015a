"""All settings, and loading them from a TOML file or a component's configuration, environment and command line."""

import difflib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from beeagent.errors import InputError
from beeagent.output import shown
from beeagent.settings import sections
from beeagent.settings.sections import CollectSettings, Option, RekognitionSettings

_ENVIRONMENT_PREFIX = "BEEAGENT_"

_WITH_SECRETS = frozenset({"camera", "broker", "mqtt_password"})
"""Settings whose values may contain a password."""
_MAX_SHOWN = 200
_COMPONENT = "the component's configuration"


class Settings(BaseModel):
    """All settings, by section. See `load_settings` for the sources of their values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    camera: sections.CameraSettings = Field(default_factory=sections.CameraSettings, title="Camera")
    model: sections.ModelSettings = Field(default_factory=sections.ModelSettings, title="Model")
    tracking: sections.TrackingSettings = Field(default_factory=sections.TrackingSettings, title="Tracking")
    messages: sections.MessageSettings = Field(default_factory=sections.MessageSettings, title="Messages")
    mqtt: sections.MqttSettings = Field(default_factory=sections.MqttSettings, title="MQTT")
    home_assistant: sections.HomeAssistantSettings = Field(
        default_factory=sections.HomeAssistantSettings, title="Home Assistant"
    )
    outbox: sections.OutboxSettings = Field(default_factory=sections.OutboxSettings, title="Outbox")
    http: sections.HttpSettings = Field(default_factory=sections.HttpSettings, title="HTTP")
    page: sections.PageSettings = Field(default_factory=sections.PageSettings, title="Page")
    agent: sections.AgentSettings = Field(default_factory=sections.AgentSettings, title="Agent")
    rekognition: RekognitionSettings = Field(default_factory=RekognitionSettings, title="Second opinion")
    collect: CollectSettings = Field(default_factory=CollectSettings, title="Collection of training data")
    greengrass: sections.GreengrassSettings = Field(default_factory=sections.GreengrassSettings, title="Greengrass")

    def state_folder(self) -> Path:
        """Return `state_dir`.

        Raises:
            InputError: it is not set and has no default.
        """
        if self.agent.state_dir is None:
            raise InputError("state_dir: there is no home directory: give --state-dir")
        return self.agent.state_dir

    def state_file(self, kind: str) -> Path:
        """Return the path of a state file of this device and camera: `hive-front.outbox.sqlite3` for `outbox.sqlite3`.

        Raises:
            InputError: `state_dir` is not set and has no default.
        """
        return self.state_folder() / f"{self.agent.device}-{self.camera.name}.{kind}"

    def value(self, name: str) -> Any:  # noqa: ANN401 - the type depends on the setting
        """Return the value of a setting by its flat name, such as `camera_timeout`."""
        setting = settings_by_name()[name]
        return getattr(getattr(self, setting.section), setting.key)

    def replace(self, **values: object) -> "Settings":
        """Return a copy with other values of some settings, by their flat names. Values are not validated."""
        groups: dict[str, dict[str, object]] = {}
        for name, value in values.items():
            setting = settings_by_name()[name]
            groups.setdefault(setting.section, {})[setting.key] = value
        return self.model_copy(
            update={section: getattr(self, section).model_copy(update=update) for section, update in groups.items()}
        )

    def differing(self, other: "Settings") -> set[str]:
        """Return the flat names of the settings that have different values in `other`."""
        return {name for name in settings_by_name() if self.value(name) != other.value(name)}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        section: section in the TOML file.
        key: key in the section.
        name: flat name, used for `BEEAGENT_NAME`, `--name` (with hyphens), and as a key of a file without sections.
        title: title of the section.
        field: type, bounds, default and description.
        option: further properties of the option.
    """

    section: str
    key: str
    name: str
    title: str
    field: FieldInfo
    option: Option

    @property
    def default(self) -> Any:  # noqa: ANN401 - the type depends on the setting
        """The default; None if it is computed or there is none."""
        return None if self.field.default_factory is not None else self.field.default

    @property
    def is_table(self) -> bool:
        """True if the value is a table."""
        return get_origin(self.field.annotation) is dict


@cache
def settings_by_name() -> Mapping[str, Setting]:
    """Return all settings by their flat names, in the order of the sections."""
    return {setting.name: setting for setting in _each_setting()}


def _each_setting() -> Iterator[Setting]:
    for section, part in Settings.model_fields.items():
        model: Any = part.annotation
        for key, field in model.model_fields.items():
            option = next((extra for extra in field.metadata if isinstance(extra, Option)), Option())
            yield Setting(section, key, option.name or f"{section}_{key}", part.title or section, field, option)


@dataclass(frozen=True, slots=True)
class _Value:
    """A value set by the user, and its source, for errors."""

    value: object
    source: str


def load_settings(
    options: Mapping[str, Any], *, config: Path | None = None, component: Mapping[str, Any] | None = None
) -> Settings:
    """Merge defaults, file, environment and command line, in ascending precedence.

    Args:
        options: values from the command line, by flat name; None for absent options.
        config: path of the TOML file, with sections or flat names; None for none.
        component: configuration of a Greengrass component, in place of the file.

    Raises:
        InputError: a file cannot be read, a setting is unknown, or a value is not allowed. The message contains the
            setting as written by the user, the value and the allowed values.
    """
    values: dict[str, _Value] = {}
    if component is not None:
        values.update(_flat(component, where=_COMPONENT))
    elif config is not None:
        values.update(_flat(_read_toml(config), where=str(config)))
    values.update(_environment())
    values.update(
        (name, _Value(value, f"--{name.replace('_', '-')}")) for name, value in options.items() if value is not None
    )
    groups: dict[str, dict[str, object]] = {}
    for name, entry in values.items():
        setting = settings_by_name().get(name)
        if setting is None:
            raise InputError(_unknown(name, entry))
        groups.setdefault(setting.section, {})[setting.key] = entry.value
    try:
        return Settings.model_validate(groups)
    except ValidationError as error:
        raise InputError(_explain(error, values)) from error


def flattened(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a component's configuration by flat names, with or without sections. Nulls count as not set.

    Raises:
        InputError: a setting is set twice, in its section and by its flat name.
    """
    return {name: entry.value for name, entry in _flat(configuration, where=_COMPONENT).items()}


def _flat(content: Mapping[str, Any], *, where: str) -> dict[str, _Value]:
    names = {(setting.section, setting.key): setting.name for setting in settings_by_name().values()}
    values: dict[str, _Value] = {}
    for key, value in content.items():
        if key in Settings.model_fields and isinstance(value, Mapping):
            entries = [(names.get((key, inner), f"{key}.{inner}"), f"{key}.{inner}", value[inner]) for inner in value]
        else:
            entries = [(key, key, value)]
        for name, written, entry in entries:
            if entry is None:
                continue
            source = f"{shown(written)} in {where}"
            if name in values:
                raise InputError(f"{source} and {values[name].source} are the same setting: give one of them")
            values[name] = _Value(entry, source)
    return values


def _read_toml(config: Path) -> dict[str, Any]:
    """Read a TOML file, with or without a byte order mark, which editors on Windows may write."""
    if not config.is_file():
        raise InputError(f"the configuration file {config} does not exist or is not a file")
    try:
        content: dict[str, Any] = tomllib.loads(config.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"the configuration file {config} is not UTF-8 text: save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # also for too long numbers and too deep nesting
        reason = shown(str(error), most=_MAX_SHOWN)
        raise InputError(f"the configuration file {config} is not TOML: {reason}") from error
    except OSError as error:
        raise InputError(f"the configuration file {config} cannot be read: {error.strerror or error}") from error
    return content


def _environment() -> dict[str, _Value]:
    variables = {name.upper(): value for name, value in os.environ.items()}
    values: dict[str, _Value] = {}
    for name, setting in settings_by_name().items():
        variable = f"{_ENVIRONMENT_PREFIX}{name.upper()}"
        if variable not in variables:
            continue
        value: object = variables[variable]
        if setting.is_table:
            try:
                value = json.loads(variables[variable])
            except (ValueError, RecursionError) as error:
                text = shown(repr(value), most=_MAX_SHOWN)
                raise InputError(f'{variable} is {text}: give a JSON object, such as {{"Apis": "bee"}}') from error
        values[name] = _Value(value, variable)
    return values


def _unknown(name: str, entry: _Value) -> str:
    """Return the error for an unknown setting, with the most similar one."""
    settings = settings_by_name()
    if name in Settings.model_fields:
        return f"unknown setting {entry.source}; {name} is a section: write its settings below [{name}]"
    section, dot, key = name.partition(".")
    dotted = [f"{setting.section}.{setting.key}" for setting in settings.values()]
    if isinstance(entry.value, Mapping) and not dot:
        close = [f"[{match}]" for match in difflib.get_close_matches(name, Settings.model_fields, n=1)]
    elif not dot:
        close = difflib.get_close_matches(name, settings, n=1)
        if entry.source.startswith("--"):
            close = [f"--{match.replace('_', '-')}" for match in close]
    elif key in settings:  # the flat name, within a section
        close = [f"{settings[key].section}.{settings[key].key}"]
    else:
        same_section = [candidate for candidate in dotted if candidate.startswith(f"{section}.")]
        close = difflib.get_close_matches(name, same_section, n=1) or difflib.get_close_matches(name, dotted, n=1)
    hint = f"did you mean {close[0]}?" if close else "beeagent --help lists all settings"
    return f"unknown setting {entry.source}; {hint}"


def _explain(error: ValidationError, values: Mapping[str, _Value]) -> str:
    first = error.errors()[0]
    section, key = first["loc"][:2]
    name = next(
        setting.name for setting in settings_by_name().values() if (setting.section, setting.key) == (section, key)
    )
    source = values[name].source
    if first["type"] == "string_pattern_mismatch":
        first["msg"] = sections.PATTERNS_IN_WORDS.get(first["ctx"]["pattern"], first["msg"])
    # Pydantic capitalises its messages; a secret's value must not be repeated.
    reason = (first["msg"][0].lower() + first["msg"][1:]).removeprefix("value error, ")
    if name in _WITH_SECRETS:
        return f"{source}: {reason}"
    return f"{source} is {shown(repr(first['input']), most=_MAX_SHOWN)}: {reason}"
