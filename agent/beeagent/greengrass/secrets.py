"""Settings that are kept in AWS Secrets Manager: the configuration has their names alone."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from beeagent.errors import InputError
from beeagent.greengrass.errors import NOT_FOUND, SERVICE_ERROR, UNAUTHORIZED, NucleusError
from beeagent.greengrass.missing_rights import GET_SECRET_VALUE, missing_right
from beeagent.shown_text import shown

if TYPE_CHECKING:
    from beeagent.greengrass.ipc import NucleusConnection

PREFIX: Final = "secret:"
SECRET_KEYS: Final = ("camera", "mqtt_username", "mqtt_password")
"""The settings that may be secrets."""


def with_secrets(given: Mapping[str, Any], *, nucleus: "NucleusConnection") -> dict[str, Any]:
    """Put secrets in the place of their names.

    A reference is `secret:NAME`, where NAME is the secret's name or ARN; or `secret:NAME#KEY`, where the secret is a
    JSON object, as Secrets Manager makes of key and value pairs. The nucleus gives those that the component
    `aws.greengrass.SecretManager` keeps on the device, also while it is offline.

    Args:
        given: settings by key.
        nucleus: whom to ask.

    Raises:
        InputError: a key may be none, or there is no such secret for this component.
        NucleusError: the nucleus does not give it for another reason.
    """
    return {key: _secret(key, value, nucleus) if is_secret(key, value) else value for key, value in given.items()}


def is_secret(key: str, value: object) -> bool:
    """Tell whether a value is the name of a secret.

    Raises:
        InputError: it is one of a key that may be none.
    """
    if not isinstance(value, str) or not value.startswith(PREFIX):
        return False
    if key not in SECRET_KEYS:
        raise InputError(f"{_where(key, value)}, and only {', '.join(SECRET_KEYS)} may be secrets")
    return True


def _where(key: str, reference: str) -> str:
    return f"{shown(key)} in the component's configuration is {shown(reference, most=200)}"


def _secret(key: str, reference: str, nucleus: "NucleusConnection") -> str:
    where = _where(key, reference)
    name, _, entry = reference.removeprefix(PREFIX).partition("#")
    if not name:
        raise InputError(f"{where}: give secret:NAME or secret:NAME#KEY")
    try:
        text = nucleus.ask(lambda client: client.get_secret_value_async(secret_id=name)).secret_value.secret_string
    except NucleusError as error:
        if error.name not in (UNAUTHORIZED, NOT_FOUND):
            hint = (
                " (a nucleus lite has no secrets: give mqtt_password_file there)" if error.name == SERVICE_ERROR else ""
            )
            raise NucleusError(f"{where}: {error}{hint}", name=error.name) from error
        why = missing_right(nucleus, GET_SECRET_VALUE, name) if error.name == UNAUTHORIZED else str(error)
        raise InputError(
            f"{where}, which the nucleus does not give ({why}): accessControl has to permit {GET_SECRET_VALUE} for it, "
            "and the configuration of aws.greengrass.SecretManager to list it"
        ) from error
    if text is None:
        raise InputError(f"{where}, which is binary: make it a text")
    return _entry(where, text, entry) if entry else str(text)


def _entry(where: str, text: str, entry: str) -> str:
    # No error from here says what is in the secret.
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{where}, and that secret is no JSON object: leave out #{entry}")
    if not isinstance(content.get(entry), str):
        raise InputError(f"{where}, and that secret has no text of the name {entry!r}")
    return str(content[entry])
