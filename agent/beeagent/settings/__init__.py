"""The settings: one typed tree, from defaults, a TOML file, the environment and the command line.

The options of the command line, `docs/settings.md`, the `beeagent.toml` template and the recipe of the Greengrass
component are made from the fields of the sections.
"""

from beeagent.settings.loading import flattened, load_settings
from beeagent.settings.sections import (
    AgentSettings,
    CameraSettings,
    CollectSettings,
    GreengrassSettings,
    HttpSettings,
    MessageSettings,
    ModelSettings,
    MqttSettings,
    OutboxSettings,
    RekognitionSettings,
)
from beeagent.settings.tree import Setting, Settings, settings_by_name

__all__ = [
    "AgentSettings",
    "CameraSettings",
    "CollectSettings",
    "GreengrassSettings",
    "HttpSettings",
    "MessageSettings",
    "ModelSettings",
    "MqttSettings",
    "OutboxSettings",
    "RekognitionSettings",
    "Setting",
    "Settings",
    "flattened",
    "load_settings",
    "settings_by_name",
]
