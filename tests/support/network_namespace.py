"""A network namespace behind a virtual cable that can be disconnected; needs root on Linux."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_NUMBERS = itertools.count()


class Cable:
    """Leads from this machine to the namespace `name`, whose address is `host`."""

    def __init__(self, name: str, host: str, link: str) -> None:
        self.name = name
        self.host = host
        self._link = link

    def pull(self) -> None:
        """Drop all packets silently, like a firewall."""
        _ip("-n", self.name, "link", "set", "peer", "down")

    def plug_in(self) -> None:
        _ip("-n", self.name, "link", "set", "peer", "up")


@contextmanager
def network_namespace() -> Iterator[Cable]:
    """Have one for as long as the context lasts; skip the test where it cannot be had."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network namespace takes root and iproute2")
    number = next(_NUMBERS)
    name, link, net = f"bee{os.getpid()}n{number}", f"bee{os.getpid() % 100000}v{number}", os.getpid() % 250
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
    try:
        try:
            _ip("link", "add", link, "type", "veth", "peer", "name", "peer", "netns", name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no virtual cable can be made here: {error.stderr.strip()}")
        # 198.18.0.0/15 is for tests: RFC 2544.
        _ip("address", "add", f"198.18.{net}.1/30", "dev", link)
        _ip("link", "set", link, "up")
        _ip("-n", name, "address", "add", f"198.18.{net}.2/30", "dev", "peer")
        _ip("-n", name, "link", "set", "peer", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield Cable(name, f"198.18.{net}.2", link)
    finally:
        subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)
