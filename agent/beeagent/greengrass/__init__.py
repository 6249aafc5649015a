"""AWS IoT Greengrass: its IPC, publishing, configuration and deployments.

The extra `greengrass` installs `awsiotsdk`, which is imported when a connection is created. The names below are
imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beeagent.greengrass.ipc import IpcAddress, IpcConnection, IpcError, ipc_address
    from beeagent.greengrass.publisher import GreengrassPublisher

__all__ = [
    "GreengrassPublisher",
    "IpcAddress",
    "IpcConnection",
    "IpcError",
    "ipc_address",
]

_MODULES = {
    "ipc": ("IpcAddress", "IpcConnection", "IpcError", "ipc_address"),
    "publisher": ("GreengrassPublisher",),
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
