"""AWS IoT Greengrass: its IPC, publishing, configuration and deployments.

The extra `greengrass` installs `awsiotsdk`, which is imported when a connection is created. The names below are
imported on first use.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

if TYPE_CHECKING:
    from beeagent.greengrass.ipc import IpcAddress, IpcConnection, IpcError, ipc_address
    from beeagent.greengrass.publisher import GreengrassPublisher
else:  # a type checker would accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "ipc": ("IpcAddress", "IpcConnection", "IpcError", "ipc_address"),
            "publisher": ("GreengrassPublisher",),
        },
    )

__all__ = [
    "GreengrassPublisher",
    "IpcAddress",
    "IpcConnection",
    "IpcError",
    "ipc_address",
]
