"""The packages that go into the component's artifacts: the agent's own wheel, and those it needs on a platform.

uv chooses the versions, pip gets wheels for other machines than this one, and the `constraints.txt` beside this module
says what each must be: the versions of the repository's, with their hashes.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn


@dataclass(frozen=True, slots=True)
class Platform:
    """What a device may be.

    Attributes:
        bits: of its Python.
        machines: how `uname -m` begins there.
        uv: the platform's name for uv; empty where not all packages have wheels.
        pip: its tags for pip, for which a wheel may be made.
        extras: what the agent is installed with.
    """

    bits: int
    machines: tuple[str, ...]
    uv: str
    pip: tuple[str, ...]
    extras: tuple[str, ...]


def _glibc_tags(machine: str) -> tuple[str, ...]:
    # Debian 12 has glibc 2.36; packages' wheels ask for 2.28 or less.
    return (*(f"manylinux_2_{minor}_{machine}" for minor in range(28, 16, -1)), f"manylinux2014_{machine}")


PLATFORMS: Final = {
    "aarch64": Platform(64, ("aarch64",), "aarch64-manylinux_2_28", _glibc_tags("aarch64"), ("greengrass",)),
    "amd64": Platform(64, ("x86_64",), "x86_64-manylinux_2_28", _glibc_tags("x86_64"), ("greengrass",)),
    # Neither awscrt nor LiteRT has a wheel there; OpenCV's and NumPy's come from piwheels, which Raspberry Pi OS asks.
    "arm": Platform(32, ("arm", "aarch64"), "", (), ("tflite-runtime",)),
}


def requirements(wheel: Path, constraints: Path, platform: Platform, python: str, extras: Sequence[str]) -> str:
    """Give what is installed beside the agent of `wheel`, each as `constraints` pins it, with its hashes."""
    asked = wheel.with_suffix(".in")
    asked.write_text(f"beeagent[{','.join(extras)}] @ {wheel.as_uri()}\n", encoding="utf-8")
    compiled = run(
        "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate",
        "--only-binary", ":all:", "--python-version", python, "--python-platform", platform.uv,
        "--constraints", constraints, asked,
        # All of them are wheels: there is nothing to run that Python for.
        UV_PYTHON_DOWNLOADS="never",
    )  # fmt: skip
    pinned = _pins(constraints)
    wanted = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", compiled, re.MULTILINE)
    if missing := [f"{name}=={version}" for name, version in wanted if (name, version) not in pinned]:
        fail(f"{constraints} does not pin {', '.join(missing)}: make it again with the command in its head")
    return "".join(f"{name}=={version} \\\n{pinned[name, version]}\n" for name, version in sorted(wanted))


def _pins(constraints: Path) -> dict[tuple[str, str], str]:
    """Read the hash lines of each package and version."""
    text = constraints.read_text(encoding="utf-8")
    entries = re.finditer(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)[^\n]*\\\n((?: +--hash=[^\n]+\n?)+)", text, re.MULTILINE)
    return {(entry[1], entry[2]): entry[3].rstrip("\n") for entry in entries}


def download(requirements: Path, platform: Platform, python: str, folder: Path) -> None:
    """Get the wheels that `requirements` names, whatever this machine is; pip sees to their hashes.

    uv, which chose the versions, heeds no upper bound on Python, as one package has without need; nor shall pip.
    """
    tags = [option for tag in platform.pip for option in ("--platform", tag)]
    run(
        "uv", "tool", "run", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary", ":all:", "--ignore-requires-python", "--require-hashes",
        "--implementation", "cp", "--python-version", python, *tags,
        "--dest", folder, "--requirement", requirements,
    )  # fmt: skip


def build_wheel(source: Path, folder: Path, commit_time: int) -> Path:
    """Build the agent's wheel into `folder`, with what `build-constraints.txt` pins."""
    run(
        "uv", "build", "--quiet", "--wheel", "--out-dir", folder, "--build-constraints",
        source / "deploy" / "greengrass" / "build-constraints.txt", source,
        SOURCE_DATE_EPOCH=str(commit_time),
    )  # fmt: skip
    (wheel,) = (folder).glob("*.whl")
    return wheel


def run(*command: str | Path, **environment: str) -> str:
    """Run a program to its end and give what it printed; leave with a line where it fails."""
    try:
        done = subprocess.run(
            list(map(str, command)),
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        fail(f"{command[0]} is not installed")
    if done.returncode:
        fail(f"{command[0]} failed: the lines above say why")
    return done.stdout


def fail(why: str) -> NoReturn:
    """Leave with a line that says why."""
    sys.exit(f"build.py: {why}")
