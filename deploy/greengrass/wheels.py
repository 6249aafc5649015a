"""Build the agent's wheel, and download its dependencies for a platform.

uv resolves the versions, pip downloads wheels for other platforms, and `constraints.txt` beside this module pins the
versions of the repository, with their hashes.
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
    """A platform of devices.

    Attributes:
        bits: word size of its Python, 32 or 64.
        machines: prefixes of `uname -m`.
        uv: name of the platform in uv; empty if not all packages have wheels for it.
        pip: tags of the platform in pip.
        extras: extras of the agent.
    """

    bits: int
    machines: tuple[str, ...]
    uv: str
    pip: tuple[str, ...]
    extras: tuple[str, ...]


def _glibc_tags(machine: str) -> tuple[str, ...]:
    # Debian 12 has glibc 2.36; the wheels need 2.28 or less.
    return (*(f"manylinux_2_{minor}_{machine}" for minor in range(28, 16, -1)), f"manylinux2014_{machine}")


PLATFORMS: Final = {
    "aarch64": Platform(64, ("aarch64",), "aarch64-manylinux_2_28", _glibc_tags("aarch64"), ("greengrass",)),
    "amd64": Platform(64, ("x86_64",), "x86_64-manylinux_2_28", _glibc_tags("x86_64"), ("greengrass",)),
    # Neither awscrt nor LiteRT has a wheel for it. Those of OpenCV and NumPy are on piwheels, the default of Pi OS.
    "arm": Platform(32, ("arm", "aarch64"), "", (), ("tflite-runtime",)),
}


def requirements(wheel: Path, constraints: Path, platform: Platform, python: str, extras: Sequence[str]) -> str:
    """Return the dependencies of the agent in `wheel` as requirements with the hashes of `constraints`."""
    requested = wheel.with_suffix(".in")
    requested.write_text(f"beeagent[{','.join(extras)}] @ {wheel.as_uri()}\n", encoding="utf-8")
    compiled = run(
        "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate",
        "--only-binary", ":all:", "--python-version", python, "--python-platform", platform.uv,
        "--constraints", constraints, requested,
        # Only wheels are resolved, which does not need this Python.
        UV_PYTHON_DOWNLOADS="never",
    )  # fmt: skip
    pinned = _pins(constraints)
    wanted = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", compiled, re.MULTILINE)
    if missing := [f"{name}=={version}" for name, version in wanted if (name, version) not in pinned]:
        fail(f"{constraints} does not pin {', '.join(missing)}: generate it again with the command at its top")
    return "".join(f"{name}=={version} \\\n{pinned[name, version]}\n" for name, version in sorted(wanted))


def _pins(constraints: Path) -> dict[tuple[str, str], str]:
    """Return the hash lines of each package and version."""
    text = constraints.read_text(encoding="utf-8")
    entries = re.finditer(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)[^\n]*\\\n((?: +--hash=[^\n]+\n?)+)", text, re.MULTILINE)
    return {(entry[1], entry[2]): entry[3].rstrip("\n") for entry in entries}


def download(requirements: Path, platform: Platform, python: str, folder: Path) -> None:
    """Download the wheels of `requirements` for a platform; pip checks their hashes.

    Like uv, which resolved the versions, pip ignores upper bounds on Python: one package has an unnecessary one.
    """
    tags = [option for tag in platform.pip for option in ("--platform", tag)]
    run(
        "uv", "tool", "run", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary", ":all:", "--ignore-requires-python", "--require-hashes",
        "--implementation", "cp", "--python-version", python, *tags,
        "--dest", folder, "--requirement", requirements,
    )  # fmt: skip


def build_wheel(source: Path, folder: Path, commit_time: int) -> Path:
    """Build the agent's wheel into `folder`, with the build dependencies that `build-constraints.txt` pins."""
    run(
        "uv", "build", "--quiet", "--wheel", "--out-dir", folder, "--build-constraints",
        source / "deploy" / "greengrass" / "build-constraints.txt", source,
        SOURCE_DATE_EPOCH=str(commit_time),
    )  # fmt: skip
    (wheel,) = (folder).glob("*.whl")
    return wheel


def run(*command: str | Path, **environment: str) -> str:
    """Run a program and return its output; exit with an error line if it fails."""
    try:
        done = subprocess.run(
            list(map(str, command)), env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=False
        )
    except FileNotFoundError:
        fail(f"{command[0]} is not installed")
    if done.returncode:
        fail(f"{command[0]} failed: see the lines above")
    return done.stdout


def fail(reason: str) -> NoReturn:
    """Exit with an error line."""
    sys.exit(f"build.py: {reason}")
