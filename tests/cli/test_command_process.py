"""The command as a process: interrupted at startup, with a full disk for standard output, without a home folder."""

import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent.settings import load_settings
from support.beeagent_process import DEADLINE, environment, run_beeagent, running_agent, tiny_bare_model, tiny_model

pytestmark = pytest.mark.faults

INTERRUPTED = """
import os
import signal
import sys

wanted = sys.argv.pop(1)

class Interrupter:
    def find_spec(self, name, path, target=None):
        if name == wanted:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
from beeagent.__main__ import main
main()
"""


def _run(program: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True, text=True, timeout=DEADLINE, check=False, env=environment(folder),
    )  # fmt: skip


@pytest.mark.parametrize(
    "module",
    [
        "beeagent.cli.app",
        "typer",
        "pydantic",
        "beeagent.runtime.run",
        "numpy",
        "numpy.linalg",
        "cv2",
        "beeagent.runtime.agent",
    ],
)
def test_interrupt_during_an_import_exits_130(module: str, tmp_path: Path) -> None:
    camera = ["--camera", "synthetic:160x120", *tiny_model(tmp_path), "--broker", "none", "--frames", "1"]
    ended = _run(INTERRUPTED, module, *camera, folder=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.parametrize(
    "function", ["beeagent.cli.app.build_app", "beeagent.cli.app.load_settings", "beeagent.runtime.run.configure_log"]
)
def test_interrupt_between_imports_exits_130(function: str, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from importlib import import_module\n"
        "from beeagent.__main__ import main\n"
        "module, _, name = sys.argv.pop(1).rpartition('.')\n"
        "setattr(import_module(module), name, lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))\n"
        "main()\n"
    )
    ended = _run(program, function, "--camera", "synthetic:160x120", "--broker", "none", folder=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_ignored_interrupts_stay_ignored(tmp_path: Path) -> None:
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + INTERRUPTED
    ended = _run(program, "beeagent.cli.app", "--version", folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_interrupt_at_the_terminal_does_not_blame_a_bare_model(tmp_path: Path) -> None:
    """Regression: the process that checks the model was interrupted, too, and reported as crashed."""
    program = (
        "import os, signal, subprocess, sys\n"
        "from beeagent.__main__ import main\n"
        "start = subprocess.Popen.__init__\n"
        "def interrupted(self, *arguments, **options):\n"
        "    start(self, *arguments, **options)\n"
        "    os.killpg(0, signal.SIGINT)\n"
        "subprocess.Popen.__init__ = interrupted\n"
        "main()\n"
    )
    with running_agent(
        "--camera", "synthetic:160x120", *tiny_bare_model(tmp_path), "--broker", "none",
        folder=tmp_path, program=("-c", program), prefix=("setsid", "--wait"),
    ) as agent:  # fmt: skip
        assert agent.end() == 0, agent.errors
    assert not any("crashes" in line for line in agent.errors)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["schema"],
        ["doctor", "--broker", "none"],
        ["demo", "--frames", "1"],
        ["dataset", "check", "--help"],
        ["dataset", "check", "yolo"],
        ["evaluate", "--help"],
        ["--camera", "synthetic:160x120", "--broker", "none", "--stdout", "--publish", "always", "--frames", "2"],
    ],
    ids=" ".join,
)
def test_full_disk_behind_standard_output_is_one_line_and_exits_1(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "yolo" / "images").mkdir(parents=True)
    (tmp_path / "yolo" / "data.yaml").write_text("names: [bee]\ntrain: images\n", encoding="utf-8")
    (tmp_path / "yolo" / "labels").mkdir()
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("no label\n", encoding="utf-8")
    cv2.imwrite(str(tmp_path / "yolo" / "images" / "a.png"), np.zeros((32, 32, 3), np.uint8))
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "beeagent", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=DEADLINE, check=False,
            env=environment(tmp_path), cwd=tmp_path,
        )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
    last = "beeagent: standard output cannot be written to: No space left on device"
    assert [line for line in ended.stderr.splitlines() if "standard output" in line] == [last]


def test_closed_pipe_prints_no_error(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "beeagent", "schema"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(tmp_path),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(DEADLINE) == 1


def test_closed_standard_output_exits_0(tmp_path: Path) -> None:
    ended = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m beeagent schema >&-"],
        stderr=subprocess.PIPE, text=True, timeout=DEADLINE, check=False, env=environment(tmp_path),
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")


def _without_a_home() -> list[str]:
    """Return what runs a command as a user without an entry in /etc/passwd, and without HOME."""
    prefix = ["unshare", "--user", "--map-user=23456", "--map-group=23456"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("user namespaces are not allowed here")
    return [*prefix, "env", "--unset=HOME", "--unset=XDG_STATE_HOME", "--unset=STATE_DIRECTORY"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--camera", "synthetic", "--broker", "none"], 2, "state_dir: there is no home directory: give --state-dir"),
        (["--camera", "synthetic:160x120", "--broker", "none", "--frames", "1", "--state-dir", "state"], 0, ""),
        (["doctor", "--broker", "none"], 1, "state_dir: there is no home directory: give --state-dir"),
        (["doctor", "--broker", "none", "--state-dir", "state"], 0, "is writable"),
        (["status", "--broker", "mqtt://127.0.0.1:1"], 2, "nothing listens at mqtt://127.0.0.1:1"),
        (["watch", "--broker", "mqtt://127.0.0.1:1"], 2, "nothing listens at mqtt://127.0.0.1:1"),
        (["schema"], 0, "beeagent.detections/1"),
    ],
)  # fmt: skip
def test_without_a_home_directory(arguments: list[str], code: int, words: str, tmp_path: Path) -> None:
    arguments = [str(tmp_path / part) if part == "state" else part for part in arguments]
    with running_agent(*arguments, folder=tmp_path, prefix=_without_a_home()) as process:
        assert process.process.stdout is not None
        output = process.process.stdout.read()
        assert process.end() == code, process.errors
    assert words in output + "\n".join(process.errors)
    assert not any("Traceback" in line for line in process.errors)


def test_settings_without_a_home_have_no_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    settings = load_settings({}, config=None)
    assert settings.agent.state_dir is None
    with pytest.raises(InputError, match="there is no home directory: give --state-dir"):
        settings.state_file("outbox.sqlite3")


def test_byte_order_mark_before_the_configuration_and_the_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n", encoding="utf-8-sig")
    config = tmp_path / "agent.toml"
    config.write_bytes(b'\xef\xbb\xbfdevice = "hive"\r\nmqtt_password_file = "%s"\r\n' % bytes(tmp_path / "password"))
    settings = load_settings({}, config=config)
    assert settings.agent.device == "hive"
    assert settings.mqtt.read_password() == "secret"
    assert run_beeagent("watch", "--config", config, "--broker", "mqtt://127.0.0.1:1", folder=tmp_path).returncode == 2
