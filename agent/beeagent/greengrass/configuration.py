"""The component's configuration: conversion to settings, secrets, and the last working configuration."""

import json
import logging
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Final

from beeagent.errors import InputError
from beeagent.greengrass.ipc import (
    ACCESS_CONTROL,
    GET_SECRET_VALUE,
    NOT_FOUND,
    SERVICE_ERROR,
    UNAUTHORIZED,
    IpcConnection,
    IpcError,
    missing_permission,
)
from beeagent.output import shown, write_file
from beeagent.settings import Settings, flattened, load_settings, settings_by_name

_LOG: Final = logging.getLogger(__name__)

_SECRET_PREFIX: Final = "secret:"  # noqa: S105 - prefix of a reference
_SECRET_KEYS: Final = ("camera", "mqtt_username", "mqtt_password")  # settings that may be secrets
_LAST_WORKING_FILE: Final = "last-working-configuration.json"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration of the component.

    Attributes:
        values: values as received from the nucleus, with references to secrets.
        settings: settings with the secrets themselves.
    """

    values: Mapping[str, Any]
    settings: Settings


@dataclass(frozen=True, slots=True)
class ConfigurationReader:
    """Reads the settings from the component's configuration.

    It replaces the TOML file: environment and command line take precedence.

    Attributes:
        ipc: the connection to the nucleus.
        options: options of the command line, by key.
        thing: name of the device's IoT thing, the default of `device`; None if unknown.
    """

    ipc: IpcConnection
    _: KW_ONLY
    options: Mapping[str, Any]
    thing: str | None

    def load(self) -> Settings:
        """Return the current settings; raises as `read`."""
        return self.read().settings

    def read(self) -> Configuration:
        """Read the current configuration.

        Raises:
            InputError: the configuration is invalid; the message contains the key, the value and the allowed values.
            IpcError: the nucleus does not return the configuration.
        """
        try:
            response = self.ipc.call(lambda client: client.get_configuration_async(key_path=[]))
        except IpcError as error:
            if error.name != NOT_FOUND:
                raise
            values: Mapping[str, Any] = {}
        else:
            values = response.value or {}
        return self.parse(values)

    def parse(self, values: Mapping[str, Any]) -> Configuration:
        """Convert a configuration to settings, with the secrets to which it refers; raises as `read`."""
        resolved = {
            key: _read_secret(key, value, self.ipc) if _is_secret(key, value) else value
            for key, value in parse_values(values).items()
        }
        return Configuration(values, self._load(resolved))

    def parse_without_secrets(self, values: Mapping[str, Any]) -> Settings:
        """Convert a configuration whose secrets may not be available yet; settings that refer to one are omitted.

        Raises:
            InputError: the configuration is invalid.
        """
        return self._load({key: value for key, value in parse_values(values).items() if not _is_secret(key, value)})

    def _load(self, values: Mapping[str, Any]) -> Settings:
        device = {} if self.thing is None else {"device": self.thing}
        return load_settings(self.options, config=None, component={**device, **values})


def parse_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Revert the conversion of values by a nucleus.

    A nucleus lite returns every value of a YAML recipe as text, and integers of a JSON recipe possibly with a decimal
    point. A value that a deployment has cleared is null, and counts as not set.

    Args:
        values: values of the component's configuration; `accessControl` is omitted from the result.

    Raises:
        InputError: a value is a boolean where none is allowed, or is none where one is required.
    """
    parsed: dict[str, Any] = {}
    settings = settings_by_name()
    for key, value in flattened(values).items():
        if key == ACCESS_CONTROL:
            continue
        parsed[key] = value
        kind = settings[key].field.annotation if key in settings else None
        if isinstance(value, float) and value.is_integer():
            parsed[key] = int(value)
        elif kind is bool:
            parsed[key] = _parse_bool(key, value)
        elif kind is not None and isinstance(value, bool):
            raise InputError(
                f"{key} in the component's configuration is {str(value).lower()}: it takes a value, not true or false"
            )
    return parsed


def _parse_bool(key: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise InputError(f"{key} in the component's configuration is {shown(repr(value), most=80)}: give true or false")


def _is_secret(key: str, value: object) -> bool:
    """Return True if a value refers to a secret; raise InputError if the key does not allow it."""
    if not isinstance(value, str) or not value.startswith(_SECRET_PREFIX):
        return False
    if key not in _SECRET_KEYS:
        raise InputError(f"{_describe(key, value)}, and only {', '.join(_SECRET_KEYS)} may be secrets")
    return True


def _describe(key: str, reference: str) -> str:
    return f"{shown(key)} in the component's configuration is {shown(reference, most=200)}"


def _read_secret(key: str, reference: str, ipc: IpcConnection) -> str:
    """Return the secret of a reference.

    A reference is `secret:NAME`, where NAME is the secret's name or ARN in AWS Secrets Manager, or `secret:NAME#KEY`,
    where the secret is a JSON object, the form of key/value pairs in Secrets Manager. The nucleus returns the secrets
    stored on the device by the component `aws.greengrass.SecretManager`, even while it is offline.

    Raises:
        InputError: this component has no such secret.
        IpcError: the nucleus does not return the secret for another reason.
    """
    where = _describe(key, reference)
    name, _, entry = reference.removeprefix(_SECRET_PREFIX).partition("#")
    if not name:
        raise InputError(f"{where}: give secret:NAME or secret:NAME#KEY")
    try:
        text = ipc.call(lambda client: client.get_secret_value_async(secret_id=name)).secret_value.secret_string
    except IpcError as error:
        if error.name not in (UNAUTHORIZED, NOT_FOUND):
            hint = " (a nucleus lite has no secrets: use mqtt_password_file)" if error.name == SERVICE_ERROR else ""
            raise IpcError(f"{where}: {error}{hint}", name=error.name) from error
        reason = missing_permission(ipc, GET_SECRET_VALUE, name) if error.name == UNAUTHORIZED else str(error)
        raise InputError(
            f"{where}, which the nucleus does not return ({reason}): accessControl must permit {GET_SECRET_VALUE} "
            "for it, and the configuration of aws.greengrass.SecretManager must list it"
        ) from error
    if text is None:
        raise InputError(f"{where}, which is binary: store it as text")
    return _secret_entry(where, text, entry) if entry else str(text)


def _secret_entry(where: str, text: str, entry: str) -> str:
    # Error messages must not contain any part of the secret.
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{where}, and that secret is not a JSON object: leave out #{entry}")
    if not isinstance(content.get(entry), str):
        raise InputError(f"{where}, and that secret has no text entry {entry!r}")
    return str(content[entry])


class LastWorkingConfiguration:
    """A file with the last configuration with which the agent ran, as received from the nucleus.

    It contains references to secrets, not the secrets; but it may contain a password from the configuration itself, so
    only the component's user can read it.

    Args:
        folder: folder of the component's state.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _LAST_WORKING_FILE
        self._saved = self.read()

    def read(self) -> dict[str, Any] | None:
        """Return the configuration; None if there is none, or it cannot be read."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            _LOG.warning("%s cannot be read: %s", self._path, error)
            return None
        return content if isinstance(content, dict) else None

    def save(self, values: Mapping[str, Any]) -> None:
        """Save a configuration, replacing the previous one; disk errors are logged."""
        content = {key: value for key, value in values.items() if key != ACCESS_CONTROL}
        if content == self._saved:
            return
        self._saved = content  # not retried
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(self._path, [json.dumps(content).encode()])
        except OSError as error:
            _LOG.warning("the working configuration cannot be saved to %s: %s", self._path, error)
