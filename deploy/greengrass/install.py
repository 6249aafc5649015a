"""`python3 ARTIFACT.zip install FOLDER`: the component's `install` step on the device.

`build.py` puts this module into the artifact as `__main__`, so that Python can run the artifact. It needs only
Python's standard library, and no nucleus. It creates a virtual environment in FOLDER, whose name contains the version,
because during an update the previous version still runs from its own folder. It does nothing if FOLDER already has a
working installation of this artifact: a classic nucleus installs at each of its starts, a nucleus lite also while the
component runs, and there may be no network then.

FOLDER/venv is a link to the environment in use. A new environment is created beside it and replaces it once it works,
so that a working one is never removed; the previous one is kept until the next installation, because it may be running.
"""

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

ENVIRONMENT = "venv"
STAMP = "installed.json"
_CHECK_WITHIN_S = 300
# The versions are pinned by a resolver that ignores upper bounds on Python.
_PINNED = ("--only-binary", ":all:", "--require-hashes", "--ignore-requires-python")


def main(arguments: Sequence[str]) -> None:
    """Install this artifact, or exit with an error line."""
    if len(arguments) != 2 or arguments[0] != "install":
        _fail("usage: python3 ARTIFACT.zip install FOLDER")
    artifact = Path(sys.argv[0]).resolve()
    try:
        install(artifact, Path(arguments[1]).absolute())
    except OSError as error:
        _fail(f"{error.filename or arguments[1]}: {error.strerror or error}")


def install(artifact: Path, folder: Path) -> None:
    """Install the agent of `artifact` into `folder`, and run an inference to check it.

    Args:
        artifact: artifact created by `build.py`.
        folder: unchanged if it already has this installation; its parent contains the component's state.
    """
    with zipfile.ZipFile(artifact) as archive:
        contents: dict[str, Any] = json.loads(archive.read("artifact.json"))
        # An environment does not depend on the patch version of Python.
        source = {"artifact": _sha256(artifact), "python": f"{sys.version_info[0]}.{sys.version_info[1]}"}
        _check_platform(contents)
        if _stamp(folder) == source and _infers(folder / ENVIRONMENT, folder):
            print(f"beeagent {contents['version']} is installed already")  # noqa: T201 - the component's log
            return
        folder.mkdir(parents=True, exist_ok=True)
        environment = Path(tempfile.mkdtemp(prefix=f"{ENVIRONMENT}-", dir=folder))
        try:
            archive.extractall(environment / "unpacked")
            _make_environment(contents, environment)
            if not _infers(environment, folder):
                _fail("the model does not run on this machine: see the lines above")
            (environment / STAMP).write_text(json.dumps(source), encoding="utf-8")
            _activate(environment, folder)
        except BaseException:
            shutil.rmtree(environment, ignore_errors=True)
            if not any(folder.iterdir()):
                folder.rmdir()
            raise
    _remove_older(folder)
    print(f"beeagent {contents['version']} is installed in {folder}")  # noqa: T201 - the component's log


def _activate(environment: Path, folder: Path) -> None:
    """Switch to `environment`, and remove the others except the previous one, which may be running."""
    link, unfinished = folder / ENVIRONMENT, folder / f"{ENVIRONMENT}.new"
    if link.is_dir() and not link.is_symlink():  # of an earlier version
        link.rename(folder / f"{ENVIRONMENT}-0")
        link.symlink_to(f"{ENVIRONMENT}-0")
    before = link.resolve().name
    (environment / "unpacked" / "run.sh").replace(folder / "run.sh")
    shutil.rmtree(environment / "unpacked")
    unfinished.unlink(missing_ok=True)
    unfinished.symlink_to(environment.name)
    unfinished.replace(link)
    for other in folder.glob(f"{ENVIRONMENT}-*"):
        if other.name not in (environment.name, before):
            shutil.rmtree(other, ignore_errors=True)


def _check_platform(contents: dict[str, Any]) -> None:
    bits = struct.calcsize("P") * 8  # of this Python: a 64-bit kernel can run 32-bit programs
    machine = os.uname().machine
    if bits != contents["bits"] or not machine.startswith(tuple(contents["machines"])):
        _fail(
            f"the artifact is for {contents['bits']}-bit {contents['machines'][0]} and this is a {bits}-bit Python on "
            f"{machine}: build the component for this platform"
        )
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if python not in contents["pythons"]:
        _fail(
            f"the artifact is for Python {', '.join(contents['pythons'])} and this is {python}: build it with "
            f"--python {python}"
        )


def _make_environment(contents: dict[str, Any], environment: Path) -> None:
    made = subprocess.run([sys.executable, "-m", "venv", environment], check=False)
    if made.returncode:
        _fail("the virtual environment cannot be created: apt-get install python3-venv")
    unpacked = environment / "unpacked"
    (wheel,) = unpacked.glob("beeagent-*.whl")
    wanted = unpacked / "requirements" / f"{sys.version_info[0]}.{sys.version_info[1]}.txt"
    if contents["offline"]:
        _pip(environment, "--no-index", "--find-links", unpacked / "wheels", *_PINNED, "--requirement", wanted)
        _pip(environment, "--no-index", "--no-deps", wheel)
    elif wanted.exists():
        _pip(environment, *_PINNED, "--requirement", wanted)
        _pip(environment, "--no-index", "--no-deps", wheel)
    else:
        _pip(environment, f"{wheel}[{','.join(contents['extras'])}]")


def _pip(environment: Path, *arguments: str | Path) -> None:
    # Wheels are unpacked on disk: /tmp is in memory on many small devices.
    temporary = environment / "unpacked" / "tmp"
    temporary.mkdir(exist_ok=True)
    options = ["--quiet", "--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    done = subprocess.run(
        [environment / "bin" / "python", "-m", "pip", "install", *options, *arguments],
        env={**os.environ, "TMPDIR": str(temporary)},
        check=False,
    )
    if done.returncode:
        _fail(
            "packages cannot be installed: see the lines above. Without access to a package index, build the "
            "component with --offline"
        )


def _infers(environment: Path, folder: Path) -> bool:
    """Return whether the installed agent can run its model and write its state here."""
    state = folder.parent / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    try:
        return not subprocess.run(
            [environment / "bin" / "python", "-m", "beeagent", "doctor", "--broker", "none"],
            env={**os.environ, "STATE_DIRECTORY": str(state)},
            timeout=_CHECK_WITHIN_S,
            check=False,
        ).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"beeagent doctor cannot be run: {error}", file=sys.stderr)  # noqa: T201 - the component's log
        return False


def _stamp(folder: Path) -> object:
    try:
        return json.loads((folder / ENVIRONMENT / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _remove_older(folder: Path) -> None:
    """Remove other versions except the one that ran last: it may be running, and a rollback returns to it."""
    others = [script.parent for script in folder.parent.glob("*/run.sh") if script.parent != folder]

    def last_run(other: Path) -> float:
        ran = other / "ran"
        return ran.stat().st_mtime if ran.exists() else 0.0

    for other in sorted(others, key=last_run)[:-1]:
        shutil.rmtree(other, ignore_errors=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _fail(reason: str) -> NoReturn:
    sys.exit(f"beeagent install: {reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
