"""User errors are one line on standard error and exit code 2, without traceback."""

import json
import shutil
from pathlib import Path

import pytest
from beeagent import __version__
from beeagent.detection import default_model
from jsonschema import Draft202012Validator
from support.beeagent_command import run_command
from support.beeagent_process import run_beeagent, tiny_bare_model, tiny_model
from support.numbered_frames import write_video


def _error_line(*arguments: str | Path, folder: Path, **environment: str) -> str:
    """Run the command, which must fail, and return its error line."""
    ended = run_command(*arguments, folder=folder, **environment)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("beeagent: ")]
    assert len(lines) == 1, ended.stderr
    return lines[0]


def _broken_bundle(folder: Path) -> Path:
    bundle = folder / "bundle"
    shutil.copytree(default_model(), bundle)
    model = bundle / "model.tflite"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    return bundle


def test_modified_bundle_is_refused(tmp_path: Path) -> None:
    ended = run_beeagent("--camera", "synthetic", "--model", _broken_bundle(tmp_path), folder=tmp_path)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()  # the only test here of the process as a whole
    assert line.startswith("beeagent: ")
    assert "model.tflite does not match its manifest" in line
    assert "install the bundle again" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "absent.tflite"), "absent.tflite cannot be read"),
        (("--camera", "no-such-thing"), "camera 'no-such-thing'"),
        (("--camera", "/dev/video99"), "/dev/video99 does not exist"),
        (("--camera", "rtsp://"), "the address has no host"),
        (("--broker", "mqtt//nowhere"), "broker 'mqtt//nowhere' is not understood"),
        (("--broker", "mqtt://user:secret@host"), "has a password in it"),
        (("--threshold", "1.5"), "--threshold is 1.5"),
        (("--threads", "0"), "--threads is '0'"),
        (("--threads", "2", "--workers", "3"), "workers is 3 and threads is 2"),
        (("--workers", "65"), "--workers is '65': input should be less than or equal to 64"),
        (("--workers", "many"), "--workers is 'many'"),
        (("--max-inference-rate", "5"), "max_inference_rate is 5, but regions is off"),
        (("--active", "dawn..dusk"), "active is 'dawn..dusk': give two times"),
        (("--active", "sunrise..20:30"), "latitude and longitude are not both set"),
        (("--active", "sunset-6h..sunrise+6h", "--latitude", "0", "--longitude", "0"), "never occurs"),
        (("--latitude", "91"), "--latitude is 91"),
        (("--publish", "sometimes"), "--publish is 'sometimes'"),
        (("--max-rate", "-1"), "--max-rate is -1"),
        (("--frames", "0"), "--frames is 0"),
        (("--camera-name", "a/b"), "--camera-name is 'a/b'"),
        (("--topic-prefix", "a/b/c/d/e/f"), "slashes"),
        (
            ("--broker", "mqtt://h", "--mqtt-ca-file", "ca.pem"),
            "ca.pem is set and mqtt://h:1883 has no TLS",
        ),
        (("--camera-size", "640x480"), "camera_size is set to 640x480 and cannot be set on synthetic"),
        (("--camera-fps", "5"), "camera_fps is set to 5.0 and cannot be set on synthetic"),
        (("--camera-size", "big"), "--camera-size is 'big'"),
        (("--mqtt-version", "3"), "--mqtt-version is '3'"),
        (("--broker", "mqtts://h", "--mqtt-ca-file", "absent.pem"), "mqtt_ca_file absent.pem cannot be used"),
        (("--broker", "mqtts://h", "--mqtt-key-file", "k.pem"), "go together"),
        (("--broker", "mqtts://h", "--mqtt-password-file", "absent"), "mqtt_password_file absent cannot be read"),
        (("--config", "absent.toml"), "absent.toml does not exist"),
    ],
)
def test_mistake_is_one_line(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    fine = ("--camera", "synthetic:64x48", "--broker", "none", "--frames", "1", *map(str, tiny_model(tmp_path)))
    values = {**dict(zip(fine[::2], fine[1::2], strict=True)), **dict(zip(options[::2], options[1::2], strict=True))}
    arguments = [part for pair in values.items() for part in pair]
    line = _error_line(*arguments, folder=tmp_path)
    assert words in line
    assert "secret" not in line


def test_regions_on_images_that_are_not_played_are_refused(tmp_path: Path) -> None:
    options = ("--camera", "*.jpg", "--broker", "none", "--regions", *tiny_model(tmp_path))
    line = _error_line(*options, folder=tmp_path)
    assert "regions cannot be used with" in line
    assert "use tiles, or set realtime" in line


def test_active_times_of_a_file_are_refused(tmp_path: Path) -> None:
    image = tmp_path / "image.jpg"
    image.touch()
    options = ("--camera", str(image), "--broker", "none", "--active", "06:00..20:30", *tiny_model(tmp_path))
    line = _error_line(*options, folder=tmp_path)
    assert "active is '06:00..20:30' and cannot be used with" in line
    assert "leave it out, or set realtime" in line


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    options = tiny_bare_model(tmp_path)
    Path(options[1]).write_text("no model", encoding="utf-8")
    line = _error_line("--camera", "synthetic", *options, folder=tmp_path)
    assert "is not a TFLite model" in line


def test_wrong_number_of_labels_is_refused(tmp_path: Path) -> None:
    options = tiny_bare_model(tmp_path)
    Path(options[3]).write_text("a\nb\nc\n", encoding="utf-8")
    line = _error_line("--camera", "synthetic", *options, folder=tmp_path)
    assert "there are 3 labels" in line


def test_camera_password_on_the_command_line_is_refused_and_not_printed(tmp_path: Path) -> None:
    line = _error_line("--camera", "rtsp://me:hunter2@camera.local/1", "--broker", "none", folder=tmp_path)
    assert "BEEAGENT_CAMERA" in line
    assert "hunter2" not in line


def test_typo_in_the_configuration_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "beeagent.toml"
    config.write_text('camra = "0"\n', encoding="utf-8")
    line = _error_line("--config", config, folder=tmp_path)
    assert "camra" in line
    assert "did you mean camera?" in line


def test_missing_camera_is_an_error_with_examples(tmp_path: Path) -> None:
    assert "rtsp://" in _error_line("--broker", "none", *tiny_model(tmp_path), folder=tmp_path)


def test_truncated_video_is_an_error_after_its_good_frames(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", 60, codec="MJPG")
    cut = tmp_path / "cut.avi"
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    arguments = ("--camera", cut, "--broker", "none", "--publish", "always", "--stdout", *tiny_model(tmp_path))
    ended = run_beeagent(*arguments, folder=tmp_path)
    assert ended.returncode == 2
    assert "cut.avi" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert 0 < len(ended.stdout.splitlines()) < 60


def test_video_without_index_is_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", 30)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:400])
    assert "cut.mp4" in _error_line("--camera", cut, "--broker", "none", *tiny_model(tmp_path), folder=tmp_path)


def test_invalid_image_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "image.jpg"
    image.write_bytes(b"no image")
    line = _error_line("--camera", image, "--broker", "none", *tiny_model(tmp_path), folder=tmp_path)
    assert "image.jpg" in line


def test_options_before_a_command_are_refused(tmp_path: Path) -> None:
    assert "--threads is given before doctor" in _error_line("--threads", "2", "doctor", folder=tmp_path)


def test_help_names_every_command_and_option(tmp_path: Path) -> None:
    ended = run_command("--help", folder=tmp_path, COLUMNS="200")
    assert ended.returncode == 0
    for command in (
        "demo",
        "watch",
        "doctor",
        "bench",
        "schema",
        "train",
        "adapt",
        "export",
        "evaluate",
        "show",
        "dataset",
        "page",
        "places",
        "fleet",
        "rollout",
    ):
        assert f"  {command}" in ended.stdout
    for option in (
        "--camera",
        "--model",
        "--labels",
        "--broker",
        "--publish",
        "--stdout",
        "--config",
        "--state-dir",
        "--mqtt-ca-file",
        "--mqtt-certificate-file",
        "--mqtt-key-file",
        "--mqtt-username",
        "--insecure-tls",
    ):
        assert option in ended.stdout


def test_version(tmp_path: Path) -> None:
    assert run_command("--version", folder=tmp_path).stdout.strip() == __version__


@pytest.mark.parametrize("name", ["detections", "event", "state", "status", "traffic"])
def test_schema_prints_a_valid_schema(name: str, tmp_path: Path) -> None:
    printed = json.loads(run_command("schema", name, folder=tmp_path).stdout)
    Draft202012Validator.check_schema(printed)
    assert printed["$id"].endswith("1")


def test_unknown_schema_is_refused(tmp_path: Path) -> None:
    assert "detections, event, state, status or traffic" in _error_line("schema", "frames", folder=tmp_path)
