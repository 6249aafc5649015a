"""A real mosquitto broker for tests, as a process on a free local port."""

import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import cycle
from pathlib import Path

import pytest
from beeagent.mqtt import BrokerAddress, MqttOptions

_DEADLINE = 45.0  # seconds for what takes milliseconds, on a machine that is busy
_PORTS_TRIED = 5


def find_program(name: str) -> str:
    """Return the path of a program of mosquitto; if it is not installed, skip the test, or fail in CI."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        reason = f"{name} is not installed (Debian: apt-get install mosquitto mosquitto-clients)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Mosquitto:
    """One broker, which can be stopped, paused and started again on the same port."""

    def __init__(
        self, folder: Path, *, settings: str = "allow_anonymous true", host: str = "127.0.0.1", namespace: str = ""
    ) -> None:
        self._program = find_program("mosquitto")
        self._config = folder / "mosquitto.conf"
        self._settings = settings
        self._host = host
        self._prefix = ["ip", "netns", "exec", namespace] if namespace else []
        self._process: subprocess.Popen[str] | None = None
        self._log: list[str] = []
        self._log_ended = False
        self._log_grew = threading.Condition()
        self.port = 0

    @property
    def address(self) -> BrokerAddress:
        return BrokerAddress(host=self._host, port=self.port, tls="certfile" in self._settings)

    @property
    def options(self) -> MqttOptions:
        return MqttOptions(address=self.address, client_id="beeagent-test")

    def start(self) -> None:
        """Start, and return once it listens; on the same port as before, where there was one."""
        if self.port:
            self._try_start(self.port)
            return
        for tries_left in reversed(range(_PORTS_TRIED)):
            port = free_port()
            try:
                self._try_start(port)
            except RuntimeError as error:
                # Another program may have been faster at this port.
                if "Address already in use" not in str(error) or not tries_left:
                    raise
            else:
                self.port = port
                return

    def stop(self, *, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process; safe to call twice."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            for _ in range(int(_DEADLINE)):
                # Right after its start, mosquitto 2.0.11 ignores a signal to stop; so repeat it.
                self._process.send_signal(how)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(1.0)
                    break
            else:
                raise TimeoutError("mosquitto does not stop")
            self._process = None

    def pause(self) -> None:
        """Stop answering, with all connections left open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def reload(self) -> None:
        """Make it read its files again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def log_mark(self) -> int:
        """Return the present position in the log, for `wait_for_log`."""
        with self._log_grew:
            return len(self._log)

    def wait_for_log(self, *texts: str, since: int = 0) -> str:
        """Wait for a line of the log that has all the texts in it."""

        def find() -> str | None:
            return next((line for line in self._log[since:] if all(text in line for text in texts)), None)

        with self._log_grew:
            self._log_grew.wait_for(lambda: find() is not None or self._log_ended, _DEADLINE)
            line = find()
            if line is None:
                raise RuntimeError(f"mosquitto did not say {texts}, but:\n" + "\n".join(self._log))
            return line

    def _try_start(self, port: int) -> None:
        # As root, mosquitto would become a user who cannot read the folders that pytest makes.
        self._config.write_text(
            f"user {getpass.getuser()}\nlistener {port} {self._host}\nlog_dest stderr\nlog_type all\n{self._settings}\n"
        )
        mark = self.log_mark()
        self._log_ended = False
        self._process = subprocess.Popen(
            [*self._prefix, self._program, "-c", str(self._config)], stderr=subprocess.PIPE, text=True, errors="replace"
        )
        threading.Thread(target=self._read_log, args=(self._process,), daemon=True).start()
        try:
            self.wait_for_log("mosquitto version", " running", since=mark)  # a path in the log may say running too
        except RuntimeError:
            self.stop()
            raise

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                with self._log_grew:
                    self._log.append(line.rstrip())
                    self._log_grew.notify_all()
        with self._log_grew:
            self._log_ended = process is self._process or self._log_ended
            self._log_grew.notify_all()


def free_port() -> int:
    """Return a port of the loopback interface on which nothing listens, and which no other test is given meanwhile."""
    for port in _ports():
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable: the ports never end")


@cache
def _ports() -> Iterator[int]:
    """Return the ports of this process, in random order, again and again; those of each worker of xdist are its own.

    None is of those that the system assigns to outgoing connections: a client that keeps trying to connect to such a
    port while nobody listens is assigned it for its own end sooner or later, is connected to itself, and holds it.
    """
    assigned = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    lowest = min(int(assigned[0]), 32768)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = list(range(lowest // 2 + worker, lowest, workers))
    random.SystemRandom().shuffle(ports)
    return cycle(ports)


@contextmanager
def running_mosquitto(
    folder: Path, *, settings: str = "allow_anonymous true", host: str = "127.0.0.1", namespace: str = ""
) -> Iterator[Mosquitto]:
    """Run a broker for as long as the context lasts; `settings` are lines of mosquitto.conf."""
    broker = Mosquitto(folder, settings=settings, host=host, namespace=namespace)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker without authentication."""
    with running_mosquitto(tmp_path) as broker:
        yield broker
