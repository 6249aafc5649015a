"""The settings: a typed tree, loaded from defaults, a TOML file, the environment and the command line.

The command-line options, `docs/settings.md`, the `beeagent.toml` template and the recipe of the Greengrass component
are generated from the fields of the sections.
"""

from beeagent.settings.loading import Setting, Settings, flattened, load_settings, settings_by_name
from beeagent.settings.sections import MqttSettings, PageSettings, RekognitionSettings, all_cores_up_to_four

__all__ = [
    "MqttSettings", "PageSettings", "RekognitionSettings", "Setting", "Settings", "all_cores_up_to_four", "flattened",
    "load_settings", "settings_by_name",
]  # fmt: skip
