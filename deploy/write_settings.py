"""Writes the files that list all settings: `python deploy/write_settings.py`, after each change of their fields.

These are the reference `docs/settings.md`, the template `deploy/systemd/beeagent.toml` and, as comments, the recipe of
the Greengrass component. A test fails when one of them is out of date.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from beeagent.settings import Setting, Settings, settings_by_name

ROOT: Final = Path(__file__).parents[1]

_SERVICE: Final[dict[str, Any]] = {
    "camera": "/dev/video0",
    "camera_name": "front",
    "await_camera": True,
    "broker": "mqtt://127.0.0.1:1883",
    "http_port": 9465,
    "device": "hive-7",
}
"""The values that the template sets: those that a service needs."""

_TEMPLATE_HEAD: Final = """\
# /etc/beeagent/beeagent.toml: all settings. A commented-out key shows its default, or an example.
# No secrets in this file: every user can read it.
"""

_REFERENCE_HEAD: Final = """\
# Settings

All settings of the agent, with their values and defaults. A setting can be a key in the TOML file, an environment
variable, or an option. These three are the same:

| source | example |
| --- | --- |
| TOML file (`--config beeagent.toml`) | `timeout = 3` in section `[camera]` |
| environment | `BEEAGENT_CAMERA_TIMEOUT=3` |
| command line | `--camera-timeout 3` |

The environment variable is the option in capitals, with the prefix `BEEAGENT_` and underscores for hyphens. The
command line overrides the environment, and the environment overrides the file.
[`deploy/systemd/beeagent.toml`](https://github.com/beeagent/beeagent/blob/main/deploy/systemd/beeagent.toml) is a file
with all settings.

A file may also use the names of the environment variables in lower case, without prefix and sections, as before
version 0.2: `camera_timeout = 3`. The configuration of a Greengrass component accepts both forms. Its recipe has no
sections, because a deployment is merged with the existing configuration key by key.

`path`, `labels`, `threshold`, `tiles`, `regions` and `max_inference_rate` of `[model]` can change while the agent
runs: change the file and send SIGHUP. All others need a restart. SIGHUP also reads the file of `places` again.
"""


def files(root: Path = ROOT) -> dict[Path, str]:
    """Return the text that each file should have.

    Args:
        root: the repository; the recipe outside its list of settings is taken from it.
    """
    recipe = root / "deploy" / "greengrass" / "recipe.yaml"
    return {
        root / "docs" / "settings.md": _reference(),
        root / "deploy" / "systemd" / "beeagent.toml": _template(),
        recipe: _recipe(recipe.read_text(encoding="utf-8")),
    }


def _sections() -> Iterator[tuple[str, str, list[Setting]]]:
    """Yield each section: name, description, settings."""
    for section, field in Settings.model_fields.items():
        settings = [setting for setting in settings_by_name().values() if setting.section == section]
        yield section, (field.annotation.__doc__ or "").strip(), settings


def _reference() -> str:
    parts = [_REFERENCE_HEAD]
    for section, description, settings in _sections():
        parts += [f"\n## `[{section}]`\n", f"{description}\n", "| key | option | description | values | default |"]
        parts.append("| --- | --- | --- | --- | --- |")
        parts += [_row(setting) for setting in settings]
    return "\n".join(parts).replace("\n\n\n", "\n\n") + "\n"


def _row(setting: Setting) -> str:
    option = f"`--{setting.name.replace('_', '-')}`"
    if setting.option.missing is not None:
        option = f"none: {setting.option.missing} (`BEEAGENT_{setting.name.upper()}`)"
    default = setting.option.default or ("" if setting.default is None else f"`{_toml(setting.default)}`")
    cells = (f"`{setting.key}`", option, setting.field.description or "", _values(setting), default)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _values(setting: Setting) -> str:
    """Return the allowed values in words."""
    annotation = setting.field.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    bounds = {
        name: getattr(bound, name)
        for bound in setting.field.metadata
        for name in ("ge", "gt", "le")
        if hasattr(bound, name)
    }
    low = f"{bounds['ge']:,}" if "ge" in bounds else f"over {bounds['gt']:,}" if "gt" in bounds else ""
    if "le" in bounds:
        return f"{low} to {bounds['le']:,}"
    return f"{low} or more" if low else ""


def _template() -> str:
    parts = [_TEMPLATE_HEAD]
    for section, description, settings in _sections():
        parts.append(f"\n[{section}]\n# {description}")
        for setting in settings:
            parts.append("")
            parts += textwrap.wrap(
                setting.field.description or "", width=98, initial_indent="# ", subsequent_indent="# "
            )
            parts.append(_line(setting))
    return "\n".join(parts) + "\n"


def _line(setting: Setting) -> str:
    if setting.name in _SERVICE:
        return f"{setting.key} = {_toml(_SERVICE[setting.name])}"
    if setting.default not in (None, {}):
        return f"# {setting.key} = {_toml(setting.default)}"
    default = f"; default: {setting.option.default}" if setting.option.default else ""
    return f"# {setting.key} = {_toml((setting.field.examples or [None])[0])}  # an example{default}"


def _recipe(text: str) -> str:
    """Replace the comments between the note on all other settings and the manifests."""
    head, note, rest = text.partition("`device` defaults to the thing's name.\n")
    _, manifests, tail = rest.partition("Manifests:\n")
    present = set(re.findall(r"^    ([a-z_]+): ", head, re.MULTILINE))
    lines = [f"    # {name}: {_yaml(setting)}\n" for name, setting in settings_by_name().items() if name not in present]
    return head + note + "".join(lines) + manifests + tail


def _yaml(setting: Setting) -> str:
    if setting.name == "mqtt_password":
        return 'null  # set "secret:NAME#KEY": a deployment is readable in plain text'
    return setting.default if isinstance(setting.default, str) else json.dumps(setting.default)


def _toml(value: Any) -> str:  # noqa: ANN401 - the value of any setting
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(entry)}' for key, entry in value.items())} }}" if value else "{}"
    return json.dumps(value, ensure_ascii=False)


def main() -> None:
    """Write the files."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
