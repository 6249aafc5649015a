"""Options of the command line, created from the settings with the name, type and description of their fields."""

import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer

from beeagent.settings import Setting, settings_by_name

Command = TypeVar("Command", bound=Callable[..., None])

BROKER = (
    "broker", "mqtt_version", "mqtt_username", "mqtt_password_file", "mqtt_ca_file", "mqtt_certificate_file",
    "mqtt_key_file", "insecure_tls",
)  # fmt: skip
"""The settings that a command needs to connect to a broker."""

Config = Annotated[Path | None, typer.Option(envvar="BEEAGENT_CONFIG", help="TOML file with any of these settings.")]


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Replace the `**options` of a command by one option for each setting; the default of an option is None.

    Args:
        names: flat names of the settings; none for all settings that have an option.
    """

    def expand(command: Command) -> Command:
        signature = inspect.signature(command)
        kept = [value for value in signature.parameters.values() if value.kind is not inspect.Parameter.VAR_KEYWORD]
        chosen = names or [name for name, setting in settings_by_name().items() if setting.option.missing is None]
        options = [_parameter(settings_by_name()[name]) for name in chosen]
        command.__signature__ = signature.replace(parameters=[*options, *kept])  # type: ignore[attr-defined]
        return command

    return expand


def _parameter(setting: Setting) -> inspect.Parameter:
    kind = _kind(setting.field.annotation)
    flags = []
    if kind is bool:
        flag = f"--{setting.name.replace('_', '-')}"
        flags = [f"{flag}/--no-{flag[2:]}" if setting.default else flag]
    option = typer.Option(*flags, metavar=_metavar(setting), help=_help(setting), rich_help_panel=setting.title)
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _kind(annotation: Any) -> Any:  # noqa: ANN401 - any type of a setting
    """Return the plain type of an annotation for pydantic: `str` for a choice of words."""
    origin = get_origin(annotation)
    if any(get_origin(choice) is Literal for choice in get_args(annotation)):
        return str  # parsed by the settings
    if origin is Annotated or origin is Union or origin is types.UnionType:
        return _kind(get_args(annotation)[0])
    return str if origin is Literal else annotation


def _metavar(setting: Setting) -> str | None:
    choices = get_args(setting.field.annotation) if get_origin(setting.field.annotation) is Literal else ()
    return setting.option.metavar or "|".join(map(str, choices)) or None


def _help(setting: Setting) -> str:
    default = setting.option.default
    if default is None and setting.default is not None and not isinstance(setting.default, bool):
        default = f"{setting.default:g}" if isinstance(setting.default, float) else str(setting.default)
    if setting.default is True:
        default = "on"
    return f"{setting.field.description}" + (f" Default: {default}." if default else "")
