"""Where the nucleus is, and how it knows this process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from beeagent.errors import InputError

SOCKET_VARIABLE: Final = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
TOKEN_VARIABLE: Final = "SVCUID"  # noqa: S105 - the variable's name
THING_VARIABLE: Final = "AWS_IOT_THING_NAME"
"""What a nucleus sets for its components, see https://docs.aws.amazon.com/greengrass/v2/developerguide/component-environment-variables.html"""


@dataclass(frozen=True, slots=True)
class NucleusAddress:
    """A nucleus to connect to.

    Attributes:
        socket: path of its Unix socket.
        token: what it gave this process to be known by; valid until the nucleus' own daemon is started again.
    """

    socket: str
    token: str = field(repr=False)


def nucleus_address(environment: Mapping[str, str]) -> NucleusAddress:
    """Find the nucleus that started this process.

    Raises:
        InputError: none did.
    """
    for name in (SOCKET_VARIABLE, TOKEN_VARIABLE):
        if not environment.get(name):
            raise InputError(
                f"{name} is not set, so no Greengrass nucleus has started this process: --greengrass and "
                "greengrass:// brokers are for components alone (deploy/greengrass/README.md)"
            )
    return NucleusAddress(environment[SOCKET_VARIABLE], environment[TOKEN_VARIABLE])
