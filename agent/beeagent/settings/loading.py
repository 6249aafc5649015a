"""Loads the settings: defaults, a TOML file or a component's configuration, the environment, the command line."""

import difflib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from beeagent.errors import InputError
from beeagent.output import shown
from beeagent.settings.sections import PATTERNS_IN_WORDS
from beeagent.settings.tree import Settings, settings_by_name

_ENVIRONMENT_PREFIX = "BEEAGENT_"

_WITH_SECRETS = frozenset({"camera", "broker", "mqtt_password"})
"""Settings whose values may contain a password."""
_MAX_SHOWN = 200
_COMPONENT = "the component's configuration"


@dataclass(frozen=True, slots=True)
class _Given:
    """A value that somebody has set, and the place where it is written."""

    value: object
    place: str


def load_settings(
    options: Mapping[str, Any], *, config: Path | None = None, component: Mapping[str, Any] | None = None
) -> Settings:
    """Merge defaults, file, environment and command line; each overrides the one before.

    Args:
        options: values from the command line, by flat name; None where an option is not given.
        config: the TOML file, with sections or flat names; None for none.
        component: the configuration of a Greengrass component, in place of the file.

    Raises:
        InputError: a file that cannot be read, an unknown setting, a value that is not allowed. The message names
            the setting as the user wrote it, the value and what is allowed.
    """
    given: dict[str, _Given] = {}
    if component is not None:
        given.update(_flat(component, where=_COMPONENT))
    elif config is not None:
        given.update(_flat(_read_toml(config), where=str(config)))
    given.update(_environment())
    given.update(
        (name, _Given(value, f"--{name.replace('_', '-')}")) for name, value in options.items() if value is not None
    )
    sections: dict[str, dict[str, object]] = {}
    for name, one in given.items():
        setting = settings_by_name().get(name)
        if setting is None:
            raise InputError(_unknown(name, one))
        sections.setdefault(setting.section, {})[setting.key] = one.value
    try:
        return Settings.model_validate(sections)
    except ValidationError as error:
        raise InputError(_explain(error, given)) from error


def flattened(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a component's configuration by flat names, whether it has sections or not. Nulls count as not given.

    Raises:
        InputError: a setting is given twice, in its section and by its flat name.
    """
    return {name: one.value for name, one in _flat(configuration, where=_COMPONENT).items()}


def _flat(content: Mapping[str, Any], *, where: str) -> dict[str, _Given]:
    names = {(setting.section, setting.key): setting.name for setting in settings_by_name().values()}
    sections = Settings.model_fields
    given: dict[str, _Given] = {}
    for key, value in content.items():
        if key in sections and isinstance(value, Mapping):
            entries = [(names.get((key, inner), f"{key}.{inner}"), f"{key}.{inner}", value[inner]) for inner in value]
        else:
            entries = [(key, key, value)]
        for name, written, entry in entries:
            if entry is None:
                continue
            place = f"{shown(written)} in {where}"
            if name in given:
                raise InputError(f"{place} and {given[name].place} are the same setting: give one of them")
            given[name] = _Given(entry, place)
    return given


def _read_toml(config: Path) -> dict[str, Any]:
    """Read a TOML file, with or without the byte order mark that editors on Windows put before it."""
    if not config.is_file():
        raise InputError(f"the configuration file {config} does not exist or is not a file")
    try:
        content: dict[str, Any] = tomllib.loads(config.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"the configuration file {config} is not UTF-8 text: save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # of the last kinds: a number too long, brackets too deep
        reason = shown(str(error), most=_MAX_SHOWN)
        raise InputError(f"the configuration file {config} is not TOML: {reason}") from error
    except OSError as error:
        raise InputError(f"the configuration file {config} cannot be read: {error.strerror or error}") from error
    return content


def _environment() -> dict[str, _Given]:
    variables = {name.upper(): value for name, value in os.environ.items()}
    given: dict[str, _Given] = {}
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
        given[name] = _Given(value, variable)
    return given


def _unknown(name: str, given: _Given) -> str:
    """Return the error for a setting that does not exist, with the one that was probably meant."""
    settings = settings_by_name()
    if name in Settings.model_fields:
        return f"unknown setting {given.place}; {name} is a section: write its settings below [{name}]"
    section, dot, key = name.partition(".")
    dotted = [f"{one.section}.{one.key}" for one in settings.values()]
    if isinstance(given.value, Mapping) and not dot:
        close = [f"[{one}]" for one in difflib.get_close_matches(name, Settings.model_fields, n=1)]
    elif not dot:
        close = difflib.get_close_matches(name, settings, n=1)
        if given.place.startswith("--"):
            close = [f"--{one.replace('_', '-')}" for one in close]
    elif key in settings:  # the flat name, within a section
        close = [f"{settings[key].section}.{settings[key].key}"]
    else:
        same_section = [one for one in dotted if one.startswith(f"{section}.")]
        close = difflib.get_close_matches(name, same_section, n=1) or difflib.get_close_matches(name, dotted, n=1)
    hint = f"did you mean {close[0]}?" if close else "beeagent --help lists all settings"
    return f"unknown setting {given.place}; {hint}"


def _explain(error: ValidationError, given: Mapping[str, _Given]) -> str:
    first = error.errors()[0]
    section, key = first["loc"][:2]
    name = next(one.name for one in settings_by_name().values() if (one.section, one.key) == (section, key))
    place = given[name].place
    if first["type"] == "string_pattern_mismatch":
        first["msg"] = PATTERNS_IN_WORDS.get(first["ctx"]["pattern"], first["msg"])
    # Pydantic capitalises its messages; a secret's value must not be repeated.
    reason = (first["msg"][0].lower() + first["msg"][1:]).removeprefix("value error, ")
    if name in _WITH_SECRETS:
        return f"{place}: {reason}"
    return f"{place} is {shown(repr(first['input']), most=_MAX_SHOWN)}: {reason}"
