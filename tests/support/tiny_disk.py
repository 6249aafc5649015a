"""A temporary file system of a few megabytes, which a test can fill or make read-only."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

DEADLINE = 45.0


class TinyDisk:
    """A tmpfs in a mount namespace of its own, held by a process; other processes can be started within."""

    def __init__(self, folder: Path, *, kilobytes: int) -> None:
        folder.mkdir()
        self.folder = folder
        script = f'mount -t tmpfs -o size={kilobytes}k tmpfs "$0" && echo mounted && exec cat'
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--map-root-user", "sh", "-c", script, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "mounted\n":
            _, reason = self._holder.communicate(timeout=DEADLINE)
            pytest.skip(f"no file system can be mounted here: {reason.strip()}")
        # What is in the namespace, seen from outside of it.
        self.seen = Path(f"/proc/{self._holder.pid}/root{folder}")

    @property
    def prefix(self) -> list[str]:
        """The prefix of a command that is to run in the namespace."""
        return ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", str(self._holder.pid)]

    def fill(self) -> None:
        """Leave no byte."""
        with (self.seen / "filler").open("ab", buffering=0) as filler:
            for size in (65536, 4096, 1):
                with suppress(OSError):  # no room for so many
                    while filler.write(bytes(size)):
                        pass

    def empty(self) -> None:
        """Take away what `fill` wrote."""
        (self.seen / "filler").unlink()

    def remount(self, how: str) -> None:
        """Mount again, `ro` or `rw`; no file may be open for writing."""
        subprocess.run([*self.prefix, "mount", "-o", f"remount,{how}", str(self.folder)], check=True, timeout=DEADLINE)

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate(timeout=DEADLINE)


@contextmanager
def tiny_disk(folder: Path, *, kilobytes: int = 8192) -> Iterator[TinyDisk]:
    """Have such a file system at a folder that is not there yet; skip the test where mounting is not allowed."""
    for program in ("unshare", "nsenter", "mount"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    disk = TinyDisk(folder, kilobytes=kilobytes)
    try:
        yield disk
    finally:
        disk.close()
