"""The settings: one typed tree, from defaults, a TOML file, the environment and the command line.

The options of the command line, `docs/settings.md`, the `beeagent.toml` template and the recipe of the Greengrass
component are made from the fields of the sections.
"""

from beeagent.settings.loading import Setting, Settings, flattened, load_settings, settings_by_name
from beeagent.settings.sections import MqttSettings, PageSettings, RekognitionSettings, all_cores_up_to_four

__all__ = [
    "MqttSettings", "PageSettings", "RekognitionSettings", "Setting", "Settings", "all_cores_up_to_four", "flattened",
    "load_settings", "settings_by_name",
]  # fmt: skip
