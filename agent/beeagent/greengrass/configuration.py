"""The component's configuration, as a deployment makes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beeagent.errors import InputError
from beeagent.greengrass.errors import NOT_FOUND, NucleusError
from beeagent.greengrass.missing_rights import ACCESS_CONTROL
from beeagent.greengrass.secrets import is_secret, with_secrets
from beeagent.settings import Settings, flattened, load_settings, settings_by_name
from beeagent.shown_text import shown

if TYPE_CHECKING:
    from beeagent.greengrass.ipc import NucleusConnection


@dataclass(frozen=True, slots=True)
class Configured:
    """A configuration that was read.

    Attributes:
        given: as the nucleus gave it, with the names of secrets.
        settings: made of it, with the secrets.
    """

    given: Mapping[str, Any]
    settings: Settings


class ComponentConfiguration:
    """Reads the settings from the nucleus.

    They are those of the TOML file, in whose place they stand: the environment and the command line still win.

    Args:
        nucleus: whom to ask.
        options: what the command line gave, by key.
        thing: the name of the device's IoT thing, which is `device` unless that is set; None where it is not known.
    """

    def __init__(self, nucleus: "NucleusConnection", *, options: Mapping[str, Any], thing: str | None) -> None:
        self._nucleus = nucleus
        self._options = dict(options)
        self._thing = thing

    def load(self) -> Settings:
        """Return the settings as the configuration is now; raises as `read`."""
        return self.read().settings

    def read(self) -> Configured:
        """Read the configuration as it is now.

        Raises:
            InputError: it cannot be used; the message names the key, the value and what is allowed.
            NucleusError: the nucleus does not give it.
        """
        try:
            answer = self._nucleus.ask(lambda client: client.get_configuration_async(key_path=[]))
        except NucleusError as error:
            if error.name != NOT_FOUND:
                raise
            given: Mapping[str, Any] = {}
        else:
            given = answer.value or {}
        return self.configured(given)

    def configured(self, given: Mapping[str, Any]) -> Configured:
        """Make settings of a configuration, with its secrets; raises as `settings`."""
        return Configured(given, self.settings(given))

    def settings(self, configuration: Mapping[str, Any]) -> Settings:
        """Make settings of a configuration, fetching the secrets that it refers to.

        Raises:
            InputError: as for `read`.
            NucleusError: the nucleus does not give a secret.
        """
        return self._load(with_secrets(as_settings(configuration), nucleus=self._nucleus))

    def without_secrets(self, configuration: Mapping[str, Any]) -> Settings:
        """Make settings of a configuration whose secrets the nucleus may not have yet; what would be one is left out.

        Raises:
            InputError: as for `read`.
        """
        given = as_settings(configuration)
        return self._load({key: value for key, value in given.items() if not is_secret(key, value)})

    def _load(self, given: Mapping[str, Any]) -> Settings:
        device = {} if self._thing is None else {"device": self._thing}
        return load_settings(self._options, config=None, component={**device, **given})


def as_settings(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Undo what a nucleus does to values on their way, and nothing more.

    From a YAML recipe, a nucleus lite gives every value as text; from a JSON one, whole numbers may come with a decimal
    point. What is cleared is null, and counts as not given.

    Args:
        configuration: the component's, by flat names or with sections; its `accessControl` is left out.

    Raises:
        InputError: a value is true or false, or should be.
    """
    given: dict[str, Any] = {}
    settings = settings_by_name()
    for key, value in flattened(configuration).items():
        if key == ACCESS_CONTROL:
            continue
        given[key] = value
        kind = settings[key].field.annotation if key in settings else None
        if isinstance(value, float) and value.is_integer():
            given[key] = int(value)
        elif kind is bool:
            given[key] = _truth(key, value)
        elif kind is not None and isinstance(value, bool):
            raise InputError(
                f"{key} in the component's configuration is {str(value).lower()}: a value is wanted, not true or false"
            )
    return given


def _truth(key: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise InputError(f"{key} in the component's configuration is {shown(repr(value), most=80)}: give true or false")
