"""All settings: the sections together, and each setting by its flat name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from beeagent.errors import InputError
from beeagent.settings.sections import (
    AgentSettings,
    CameraSettings,
    CollectSettings,
    GreengrassSettings,
    HttpSettings,
    MessageSettings,
    ModelSettings,
    MqttSettings,
    Option,
    OutboxSettings,
    RekognitionSettings,
)


class Settings(BaseModel):
    """Everything that can be set, by section. See `load_settings` for where values come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    camera: CameraSettings = Field(default_factory=CameraSettings, title="Camera")
    model: ModelSettings = Field(default_factory=ModelSettings, title="Model")
    messages: MessageSettings = Field(default_factory=MessageSettings, title="Messages")
    mqtt: MqttSettings = Field(default_factory=MqttSettings, title="MQTT")
    outbox: OutboxSettings = Field(default_factory=OutboxSettings, title="Outbox")
    http: HttpSettings = Field(default_factory=HttpSettings, title="HTTP")
    agent: AgentSettings = Field(default_factory=AgentSettings, title="Agent")
    rekognition: RekognitionSettings = Field(default_factory=RekognitionSettings, title="Second opinion")
    collect: CollectSettings = Field(default_factory=CollectSettings, title="Collection of training data")
    greengrass: GreengrassSettings = Field(default_factory=GreengrassSettings, title="Greengrass")

    def state_folder(self) -> Path:
        """Return `state_dir`.

        Raises:
            InputError: there is none.
        """
        if self.agent.state_dir is None:
            raise InputError("state_dir: there is no home directory: give --state-dir")
        return self.agent.state_dir

    def state_file(self, kind: str) -> Path:
        """Return the path of a state file of this device and camera: `hive-front.outbox.sqlite3` for `outbox.sqlite3`.

        Raises:
            InputError: there is no `state_dir`.
        """
        return self.state_folder() / f"{self.agent.device}-{self.camera.name}.{kind}"

    def value(self, name: str) -> Any:  # noqa: ANN401 - of the type of that setting
        """Return the value of a setting by its flat name, such as `camera_timeout`."""
        setting = settings_by_name()[name]
        return getattr(getattr(self, setting.section), setting.key)

    def replace(self, **values: object) -> "Settings":
        """Return a copy with other values of some settings, by their flat names. Values are not validated."""
        sections: dict[str, dict[str, object]] = {}
        for name, value in values.items():
            setting = settings_by_name()[name]
            sections.setdefault(setting.section, {})[setting.key] = value
        return self.model_copy(
            update={section: getattr(self, section).model_copy(update=update) for section, update in sections.items()}
        )

    def differing(self, other: "Settings") -> set[str]:
        """Return the flat names of the settings that have different values in `other`."""
        return {name for name in settings_by_name() if self.value(name) != other.value(name)}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        section: its section in the TOML file.
        key: its key there.
        name: its flat name: `BEEAGENT_NAME`, `--name` (with hyphens), and a key of the TOML file without sections.
        title: title of its section.
        field: its type, bounds, default and description.
        option: what else the field says about it.
    """

    section: str
    key: str
    name: str
    title: str
    field: FieldInfo
    option: Option

    @property
    def default(self) -> Any:  # noqa: ANN401 - of the type of that setting
        """The default; None where it is computed or there is none."""
        return None if self.field.default_factory is not None else self.field.default

    @property
    def is_table(self) -> bool:
        """Whether its value is a table."""
        return get_origin(self.field.annotation) is dict


@cache
def settings_by_name() -> Mapping[str, Setting]:
    """Return all settings by their flat names, in the order of the sections."""
    return {setting.name: setting for setting in _each_setting()}


def _each_setting() -> Iterator[Setting]:
    for section, model in _sections().items():
        for key, field in model.model_fields.items():
            option = next((extra for extra in field.metadata if isinstance(extra, Option)), Option())
            title = Settings.model_fields[section].title or section
            yield Setting(section, key, option.name or f"{section}_{key}", title, field, option)


def _sections() -> dict[str, type[BaseModel]]:
    return {
        section: field.annotation
        for section, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
