"""AWS IoT Greengrass: its IPC, publishing, configuration and deployments.

The extra `greengrass` installs `awsiotsdk`, which is imported when a connection is created.
"""

from beeagent.greengrass.configuration import Configuration, ConfigurationReader, LastWorkingConfiguration
from beeagent.greengrass.deployments import Deployments
from beeagent.greengrass.ipc import THING_VARIABLE, IpcAddress, IpcConnection, IpcError, ipc_address
from beeagent.greengrass.publisher import GreengrassPublisher

__all__ = [
    "THING_VARIABLE", "Configuration", "ConfigurationReader", "Deployments", "GreengrassPublisher", "IpcAddress",
    "IpcConnection", "IpcError", "LastWorkingConfiguration", "ipc_address",
]  # fmt: skip
