"""The component, built, installed and run as by a nucleus: as an unprivileged user, without network."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import install
import pytest
import yaml
from beeagent import __version__
from support.greengrass_nucleus import CLASSIC, LITE, LITE_MAIN, Kind, as_from_yaml, nucleus_at
from support.mosquitto import Mosquitto
from support.mqtt_subscriber import subscriber

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]  # builds the component and installs it with pip

ROOT = Path(__file__).parents[3]
BUILD = Path("deploy", "greengrass", "build.py")
# Debian's, which any user can run, unlike the tests' own Python.
PYTHON = "/usr/bin/python3"
NOBODY = 65534
DEADLINE = 300.0
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "aarch64"}


def built(root: Path, out: Path, *options: str, umask: int = 0o022, zone: str = "UTC") -> Path:
    """Run the build of the clone at `root`, and return the folder of its artifacts."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    ended = subprocess.run(
        [sys.executable, root / BUILD, "--out", out, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
        umask=umask,
        env={**os.environ, "TZ": zone},
    )
    assert ended.returncode == 0, ended.stderr
    return out / "artifacts" / "io.beeagent.Agent" / __version__


@dataclass(frozen=True)
class Device:
    """A device with an artifact and a work folder, an ordinary user, and no network."""

    artifact: Path
    work: Path
    scripts: dict[str, str]
    configuration: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.work / __version__

    def command(self, *arguments: str | Path, network: bool) -> list[str]:
        if os.geteuid() != 0:
            return list(map(str, arguments))
        apart = [] if network else ["unshare", "--net"]
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        return [*apart, *user, *map(str, arguments)]

    @property
    def environment(self) -> dict[str, str]:
        # Even if pip on this machine is configured with an index.
        return {"PATH": "/usr/bin:/bin", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, network=False),
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
            env=self.environment,
        )

    def script(self, step: str) -> str:
        """Return a step's script as a nucleus lite fills it in; the classic one's paths end without a slash."""
        filled = self.scripts[step].replace("{artifacts:path}", f"{self.artifact.parent}/")
        return filled.replace("{work:path}", f"{self.work}/")

    def install(self) -> subprocess.CompletedProcess[str]:
        return self.run("sh", "-c", self.script("install"))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run the agent with these arguments in place of --greengrass."""
        script = self.script("run")
        assert script.endswith(" --greengrass")
        return subprocess.Popen(
            self.command("sh", "-c", script.replace("--greengrass", shlex.join(arguments)), network=True),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    """A device with this machine's architecture, and the offline artifact for it."""
    command = [PYTHON, "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        python = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        if os.environ.get("CI"):
            pytest.fail("Debian's python3-venv is not installed")
        pytest.skip("Debian's python3-venv is not installed")
    architecture = ARCHITECTURE[os.uname().machine]
    # Not below pytest's folder, which other users cannot read.
    with tempfile.TemporaryDirectory(prefix="beeagent-component-") as named:
        folder = Path(named)
        artifacts = built(
            ROOT, folder / "build", "--uncommitted", "--offline", "--platform", architecture, "--python", python
        )
        artifact = folder / f"beeagent-{architecture}.zip"
        shutil.copy(artifacts / artifact.name, artifact)
        (folder / "work").mkdir()
        folder.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(folder / "work", NOBODY, NOBODY)
        (recipe,) = (folder / "build" / "recipes").iterdir()
        (manifest,) = yaml.safe_load(recipe.read_text())["Manifests"]
        scripts = {step: content["Script"] for step, content in manifest["Lifecycle"].items()}
        configuration = yaml.safe_load(recipe.read_text())["ComponentConfiguration"]["DefaultConfiguration"]
        yield Device(artifact, folder / "work", scripts, configuration)


@pytest.fixture(scope="module")
def installed(device: Device) -> Device:
    ended = device.install()
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert "an inference takes" in ended.stdout
    return device


def names(folder: Path) -> list[str]:
    """Return the names in a version's folder, environments without their random suffix."""
    return sorted("venv-*" if path.name.startswith("venv-") else path.name for path in folder.iterdir())


def test_installation_works_offline_and_is_not_repeated(installed: Device) -> None:
    environment = installed.folder / "venv" / "pyvenv.cfg"
    made = environment.stat().st_ino
    again = installed.install()
    assert again.returncode == 0, again.stderr
    assert f"beeagent {__version__} is installed already" in again.stdout
    assert environment.stat().st_ino == made
    # Wheels and temporary files are not kept.
    assert names(installed.folder) == ["run.sh", "venv", "venv-*"]


def test_agent_publishes_stops_cleanly_and_keeps_its_state_outside_the_version(
    installed: Device, mosquitto: Mosquitto
) -> None:
    with subscriber(mosquitto.port) as subscribed:
        agent = installed.start(
            "--camera", "synthetic:320x240", "--device", "hive-7", "--publish", "always", "--max-rate", "5",
            "--broker", f"mqtt://127.0.0.1:{mosquitto.port}",
        )  # fmt: skip
        killer = threading.Timer(DEADLINE, agent.kill)
        killer.start()
        try:
            subscribed.wait_for(3, topic_end="beeagent/hive-7/camera/detections", deadline=DEADLINE)
            assert Path(f"/proc/{agent.pid}/cmdline").read_bytes().split(b"\0")[1:3] == [b"-m", b"beeagent"]
            agent.send_signal(signal.SIGTERM)
            _, errors = agent.communicate()
        finally:
            killer.cancel()
            agent.kill()
        assert agent.returncode == 0, errors
        subscribed.wait_until(
            lambda: json.loads(subscribed.payloads("/status")[-1])["state"] == "offline", deadline=DEADLINE
        )
    assert list((installed.work / "state").iterdir())
    assert names(installed.folder) == ["ran", "run.sh", "venv", "venv-*"]
    assert (installed.work / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", [LITE, LITE_MAIN, CLASSIC], ids=["lite", "lite-main", "classic"])
def test_agent_runs_with_the_script_and_permissions_of_the_recipe(installed: Device, kind: Kind) -> None:
    with tempfile.TemporaryDirectory(prefix="beeagent-nucleus-") as named, nucleus_at(Path(named), kind) as nucleus:
        Path(named).chmod(0o755)
        nucleus.socket.chmod(0o777)
        merged = {**installed.configuration, "camera": "synthetic:320x240", "publish": "always", "max_rate": 5}
        nucleus.configuration = merged if kind is CLASSIC else as_from_yaml(merged)
        agent = subprocess.Popen(
            installed.command("sh", "-c", installed.script("run"), network=False),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **installed.environment,
                "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(nucleus.socket),
                "SVCUID": nucleus.token,
                "AWS_IOT_THING_NAME": "hive-7",
            },
        )
        killer = threading.Timer(DEADLINE, agent.kill)
        killer.start()
        try:
            nucleus.wait_until(lambda: len([topic for topic, _ in nucleus.cloud if topic.endswith("detections")]) >= 5)
            agent.send_signal(signal.SIGTERM)
            _, errors = agent.communicate()
        finally:
            killer.cancel()
            agent.kill()
        assert agent.returncode == 0, errors
        assert json.loads(nucleus.last("beeagent/hive-7/status") or b"{}")["state"] == "offline"


def test_missing_camera_and_dead_broker_do_not_end_the_agent(installed: Device, mosquitto: Mosquitto) -> None:
    port = mosquitto.port
    mosquitto.stop()
    agent = installed.start(
        "--camera", "/dev/video98", "--await-camera", "--device", "hive-8", "--broker", f"mqtt://127.0.0.1:{port}"
    )
    try:
        mosquitto.start()
        with subscriber(port, "beeagent/hive-8/status") as subscribed:
            subscribed.wait_until(lambda: bool(subscribed.payloads("/status")), deadline=DEADLINE)
            assert json.loads(subscribed.payloads("/status")[-1])["state"] == "degraded"
        assert agent.poll() is None
    finally:
        agent.terminate()
        agent.communicate(timeout=DEADLINE)
    assert agent.returncode == 0


def test_doctor_prints_the_remedy_for_camera_access(installed: Device) -> None:
    node = Path("/dev/video97")
    try:
        os.mknod(node, 0o600 | 0o020000, os.makedev(81, 97))
    except (OSError, PermissionError):
        pytest.skip("no device node can be made here")
    doctor = [installed.folder / "venv" / "bin" / "python", "-m", "beeagent", "doctor", "--broker", "none"]
    try:
        unchosen = installed.run("env", f"STATE_DIRECTORY={installed.work / 'state'}", *doctor)
        chosen = installed.run("env", f"STATE_DIRECTORY={installed.work / 'state'}", *doctor, "--camera", node)
    finally:
        node.unlink()
    advice = "/dev/video97 may not be opened by this user; add it to the group video (sudo usermod -aG video nobody)"
    assert unchosen.returncode == 0
    assert f"none given; {advice}" in unchosen.stdout
    assert chosen.returncode == 1
    assert advice in chosen.stdout


def test_damaged_installation_is_repaired(installed: Device) -> None:
    (model,) = installed.folder.glob("venv/lib/python*/site-packages/beeagent/bundles/bees-lite0/model.tflite")
    model.write_bytes(model.read_bytes()[:1000])
    ended = installed.install()
    assert ended.returncode == 0, ended.stderr
    assert f"beeagent {__version__} is installed in" in ended.stdout
    assert model.stat().st_size > 1000


def stamped(device: Device, **more: str) -> Path:
    """Change the stamp of the environment in use to another Python or artifact; return its path."""
    environment = (device.folder / "venv").resolve()
    stamp = environment / install.STAMP
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), **more}))
    return environment


def test_patch_version_of_python_does_not_matter(installed: Device) -> None:
    """After a patch release there may be no network to create an environment."""
    stamp = json.loads((installed.folder / "venv" / install.STAMP).read_text())
    command = [PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    assert stamp["python"] == subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_working_environment_stays_until_another_one_works(installed: Device) -> None:
    environment = stamped(installed, artifact="of another build")
    broken = changed(installed.artifact, installed.artifact.with_name("no-wheel.zip"), without_a_wheel)
    before = set(installed.folder.iterdir())
    ended = installed.run(PYTHON, broken, "install", installed.folder)
    assert ended.returncode == 1
    assert (installed.folder / "venv").resolve() == environment
    assert set(installed.folder.iterdir()) == before  # nothing is left of the failed one
    runs = installed.run("sh", installed.folder / "run.sh", "--version")
    assert runs.returncode == 0, runs.stderr
    # The previous one may be running while another one replaces it.
    ended = installed.install()
    assert ended.returncode == 0, ended.stderr
    assert (installed.folder / "venv").resolve() != environment
    assert (environment / "bin" / "python").exists()
    stamped(installed, artifact="of another build")
    assert installed.install().returncode == 0
    assert not environment.exists()


def changed(artifact: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(artifact) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    target.chmod(0o644)
    return target


def without_a_wheel(contents: dict[str, bytes]) -> None:
    del contents[next(name for name in contents if name.startswith("wheels/pydantic_core-"))]


def with_another_wheel(contents: dict[str, bytes]) -> None:
    contents[next(name for name in contents if name.startswith("wheels/mdurl-"))] += b"\0"


def with_contents(**more: object) -> Callable[[dict[str, bytes]], None]:
    def change(contents: dict[str, bytes]) -> None:
        changed_contents: dict[str, Any] = {**json.loads(contents["artifact.json"]), **more}
        contents["artifact.json"] = json.dumps(changed_contents).encode()

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_contents(machines=["riscv64"]), "the artifact is for 64-bit riscv64 and this is a 64-bit Python on"),
        (with_contents(bits=32), "the artifact is for 32-bit"),
        (with_contents(pythons=["3.7"]), "the artifact is for Python 3.7 and this is"),
        (without_a_wheel, "packages cannot be installed"),
        (with_another_wheel, "packages cannot be installed"),
    ],
)
def test_unsuitable_artifact_is_refused_with_the_reason(
    change: Callable[[dict[str, bytes]], None], reason: str, device: Device
) -> None:
    artifact = changed(device.artifact, device.artifact.with_name("other.zip"), change)
    ended = device.run(PYTHON, artifact, "install", device.work / "other")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("beeagent install: ")
    assert reason in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert not (device.work / "other").exists()


def test_failed_inference_fails_the_installation(device: Device) -> None:
    def break_model(contents: dict[str, bytes]) -> None:
        name = next(name for name in contents if name.startswith("beeagent-"))
        wheel = device.artifact.with_name(name)
        wheel.write_bytes(contents[name])

        def cut(inside: dict[str, bytes]) -> None:
            model = next(name for name in inside if name.endswith("bees-lite0/model.tflite"))
            inside[model] = inside[model][:1000]

        contents[name] = changed(wheel, wheel.with_suffix(".cut"), cut).read_bytes()

    artifact = changed(device.artifact, device.artifact.with_name("broken.zip"), break_model)
    ended = device.run(PYTHON, artifact, "install", device.work / "broken")
    assert ended.returncode == 1
    assert "the model does not run on this machine" in ended.stderr.splitlines()[-1]
    assert "WRONG  model" in ended.stdout


def test_previous_version_that_ran_last_is_kept(tmp_path: Path) -> None:
    for version, ran in (("0.0.1", 1), ("0.0.2", 3), ("0.0.3", 2), ("0.0.4", None), ("0.0.5", None)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "run.sh").touch()
        if ran is not None:
            (tmp_path / version / "ran").touch()
            os.utime(tmp_path / version / "ran", (ran, ran))
    (tmp_path / "state").mkdir()
    install._remove_older(tmp_path / "0.0.5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.0.2", "0.0.5", "state"]


def test_build_is_reproducible(tmp_path: Path) -> None:
    made: list[dict[str, bytes]] = []
    for name, umask, zone in (("one", 0o022, "UTC"), ("another-place", 0o077, "Asia/Kathmandu")):
        clone = tmp_path / name / "clone"
        subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, clone], check=True, umask=umask)
        (clone / "agent" / "beeagent" / "left-over.py").write_text("# not in the commit\n")
        out = tmp_path / name / "out"
        built(clone, out, "--platform", "aarch64", "--platform", "arm", "--python", "3.11", umask=umask, zone=zone)
        made.append({str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert made[0].keys() == made[1].keys()
    assert len(made[0]) == 3
    assert made[0] == made[1]


def test_gdk_build_command_creates_the_expected_files(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, clone], check=True)
    folder = clone / "deploy" / "greengrass"
    ((name, component),) = json.loads((folder / "gdk-config.json").read_text())["component"].items()
    place = folder / "greengrass-build" / "artifacts" / name / component["version"]
    place.mkdir(parents=True)
    (folder / "greengrass-build" / "recipes").mkdir()
    subprocess.run(component["build"]["custom_build_command"], cwd=folder, check=True, timeout=DEADLINE)
    recipe = yaml.safe_load((folder / "greengrass-build" / "recipes" / "recipe.yaml").read_text())
    assert (recipe["ComponentName"], recipe["ComponentVersion"]) == (name, component["version"])
    named = {
        artifact["URI"].rpartition("/")[2] for manifest in recipe["Manifests"] for artifact in manifest["Artifacts"]
    }
    assert {path.name for path in place.iterdir()} == named


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--offline", "--platform", "arm"], "have no wheels for it"),
        (["--second-opinion", "arn:aws:rekognition:eu-central-1:123456789012:project/bees/1"], "not the ARN"),
        (["--camera-name", "a/b"], "'a/b' is not a name"),
        (["--topic-prefix", "bees/#"], "'#' is not a name"),
    ],
)
def test_build_refuses_invalid_options(options: list[str], reason: str) -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / BUILD, *options], capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    assert ended.returncode == 2
    assert reason in ended.stderr.splitlines()[-1]
