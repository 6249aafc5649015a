"""Options, reference, template and recipe list every setting, as the fields define them."""

import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from beeagent.cli.app import build_app
from beeagent.settings import load_settings, settings_by_name

ROOT = Path(__file__).parents[1]
FILES = ("docs/settings.md", "deploy/systemd/beeagent.toml", "deploy/greengrass/recipe.yaml")


def _outdated(root: Path) -> list[str]:
    written = runpy.run_path(str(ROOT / "deploy" / "write_settings.py"))["files"](root)
    return [str(path.relative_to(root)) for path, text in written.items() if path.read_text(encoding="utf-8") != text]


def test_files_are_up_to_date() -> None:
    assert _outdated(ROOT) == [], "run python deploy/write_settings.py"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("old", "new"), [(r"^.*timeout.*5\.0.*\n", ""), (r"(timeout.*)5\.0", r"\g<1>6.0")], ids=["missing", "default"]
)
def test_missing_setting_and_other_default_are_found(name: str, old: str, new: str, tmp_path: Path) -> None:
    for each in FILES:
        (tmp_path / each).parent.mkdir(parents=True)
        shutil.copy(ROOT / each, tmp_path / each)
    text = (tmp_path / name).read_text(encoding="utf-8")
    changed = re.sub(old, new, text, count=1, flags=re.MULTILINE)
    assert changed != text
    (tmp_path / name).write_text(changed, encoding="utf-8")
    assert _outdated(tmp_path) == [name]


def test_template_is_a_configuration() -> None:
    settings = load_settings({}, config=ROOT / "deploy" / "systemd" / "beeagent.toml")
    assert settings.camera.address == "/dev/video0"
    assert settings.camera.await_camera
    assert settings.http.port == 9465


def test_template_without_comment_signs_has_all_settings_and_their_defaults(tmp_path: Path) -> None:
    template = (ROOT / "deploy" / "systemd" / "beeagent.toml").read_text(encoding="utf-8")
    config = tmp_path / "beeagent.toml"
    config.write_text(re.sub(r"^# ([a-z_]+ = )", r"\1", template, flags=re.MULTILINE), encoding="utf-8")
    settings = load_settings({}, config=config)
    set_for_the_service = {"camera", "camera_name", "await_camera", "broker", "http_port", "device"}
    for name, setting in settings_by_name().items():
        if setting.default in (None, {}):
            assert settings.value(name), name
        elif name not in set_for_the_service:
            assert settings.value(name) == setting.default, name


def _options() -> dict[str, Any]:
    return {option.name: option for option in typer.main.get_command(build_app()).params if option.name is not None}


def test_every_setting_has_an_option_or_a_reason_for_none() -> None:
    options = _options()
    for name, setting in settings_by_name().items():
        assert setting.field.description, name
        if setting.option.missing is not None:
            assert name not in options
            continue
        assert f"--{name.replace('_', '-')}" in options[name].opts
        assert options[name].help.startswith(setting.field.description)
        assert options[name].rich_help_panel == setting.title
        assert options[name].default is None
    assert options.keys() - settings_by_name().keys() == {"config", "greengrass", "version"}


def test_secrets_are_no_options() -> None:
    assert not {"mqtt_password"} & _options().keys()
