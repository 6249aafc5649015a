"""Measure the processor time of the page: without a viewer, with one viewer, and with ten slow viewers.

    python bench/page.py                            15 s for each, on the synthetic scene at 10 frames/s
    python bench/page.py --seconds 60 --camera /dev/video0 --rate 10

Runs the agent in a process, alternately with the page off and on, and requests frames as the page's script does: the
next frame as soon as there is one, and the state once a second. The processor time of the requests is that of the
process minus that of the threads that ran before the first request, so it includes threads that have ended.
"""

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_WARM_UP_S = 6.0
_SLOW_BYTES_PER_S = 4000
_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Usage:
    """The load of an agent.

    Attributes:
        cores: processor time of the process per second.
        viewers: the part of it that later threads took.
        frames_per_s: results of the pipeline per second.
    """

    cores: float
    viewers: float
    frames_per_s: float


class Agent:
    """A running agent; counts its messages."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.frames = 0
        self.log = ""
        self._own: list[str] = []
        self._process = subprocess.Popen(  # noqa: S603 - the command under test
            [sys.executable, "-m", "beeagent", *arguments, "--broker", "none", "--stdout", "--publish", "always"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(folder)},
        )
        self._tasks = Path(f"/proc/{self._process.pid}/task")
        for read in (self._count, self._read_log):
            threading.Thread(target=read, daemon=True).start()

    def remember_threads(self) -> None:
        """Record the present threads as those of the agent; later ones serve viewers."""
        self._own = [task.name for task in self._tasks.iterdir()]

    def measure(self, seconds: float) -> Usage:
        """Return the load over a number of seconds."""
        began, frames, before = time.monotonic(), self.frames, self._cores()
        time.sleep(seconds)
        spent, after = time.monotonic() - began, self._cores()
        used, own = after[0] - before[0], after[1] - before[1]
        return Usage(used / spent, max(0.0, used - own) / spent, (self.frames - frames) / spent)

    def stop(self) -> None:
        """End the agent."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def _count(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        for _ in self._process.stdout:
            self.frames += 1

    def _read_log(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - a pipe
        for line in self._process.stderr:
            self.log += line

    def _cores(self) -> tuple[float, float]:
        """Return the processor time of the process, and of its own threads."""
        own = sum(_processor_s(self._tasks / name / "stat") for name in self._own)
        return _processor_s(self._tasks.parent / "stat"), own


class Viewer:
    """A signed-in client.

    Args:
        port: port of the page.
        token: token of the sign-in link; None with a cookie.
        cookie: session cookie of another viewer.
    """

    def __init__(self, port: int, *, token: str | None = None, cookie: str | None = None) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.cookie = cookie or ""
        if token is not None:
            body = json.dumps({"token": token})
            origin = f"http://127.0.0.1:{port}"
            self._connection.request(
                "POST", "/api/session", body, {"Origin": origin, "Content-Type": "application/json"}
            )
            answer = self._connection.getresponse()
            answer.read()
            self.cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]

    def get(self, path: str) -> bytes:
        """Return the body of a resource."""
        self._connection.request("GET", path, headers={"Cookie": self.cookie})
        return self._connection.getresponse().read()


@contextmanager
def viewing(viewer: Viewer) -> Iterator[list[int]]:
    """Request frames as the page does; yield a list to which the id of each is added."""
    seen: list[int] = []
    stop = threading.Event()

    def view() -> None:
        state_at = 0.0
        while not stop.is_set():
            body = viewer.get(f"/api/live?after={seen[-1] if seen else 0}")
            if body:
                seen.append(json.loads(body)["id"])
            if time.monotonic() >= state_at:
                state_at = time.monotonic() + 1
                viewer.get("/api/state")

    thread = threading.Thread(target=view)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


@contextmanager
def slow_viewing(port: int, cookie: str) -> Iterator[None]:
    """Request frames and read a few thousand bytes of them a second."""
    stop = threading.Event()
    request = f"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\n\r\n".encode()

    def view() -> None:
        while not stop.is_set():
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(("127.0.0.1", port))
                connection.sendall(request * 4)
                while not stop.wait(0.25) and connection.recv(_SLOW_BYTES_PER_S // 4):
                    pass

    thread = threading.Thread(target=view)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="duration of each measurement")
    parser.add_argument("--camera", default="synthetic:1280x720@10")
    parser.add_argument("--rate", default="10", help="maximum number of frames processed per second")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--model", default="bees-lite0")
    options = parser.parse_args()
    port = _free_port()
    base = [
        "--camera", options.camera, "--max-rate", options.rate, "--threads", options.threads, "--model", options.model,
        "--track",
    ]  # fmt: skip
    page = [*base, "--page", "--page-port", str(port)]
    rows: dict[str, list[Usage]] = {}

    def add(name: str, usage: Usage) -> None:
        rows.setdefault(name, []).append(usage)
        print(f"{name:42} {usage.cores:6.1%} {usage.viewers:6.1%} {usage.frames_per_s:8.2f}", flush=True)

    print(f"{'':42} {'cores':>6} {'viewer':>6} {'frames/s':>8}")
    for number in range(_ROUNDS):
        for name, arguments in (("page off", base), ("page on, no viewer", page)):
            with _running(arguments) as agent:
                add(name, agent.measure(options.seconds))
                if name == "page off" or number < _ROUNDS - 1:
                    continue
                _measure_viewers(agent, port, options.seconds, add)
    print()
    for name, usages in rows.items():
        mean = [sum(getattr(one, key) for one in usages) / len(usages) for key in ("cores", "viewers", "frames_per_s")]
        print(f"{name:42} {mean[0]:6.1%} {mean[1]:6.1%} {mean[2]:8.2f}")


def _measure_viewers(agent: Agent, port: int, seconds: float, add: Callable[[str, Usage], None]) -> None:
    token = re.search(r"#token=([A-Za-z0-9_-]+)", agent.log)
    assert token is not None, agent.log  # noqa: S101 - the agent has started
    viewer = Viewer(port, token=token[1])
    with viewing(viewer) as seen:
        time.sleep(1)
        began = len(seen)
        usage = agent.measure(seconds)
        shown = (len(seen) - began) / seconds
    add(f"one viewer, {shown:.1f} frames/s", usage)
    time.sleep(11)  # until the agent stops encoding frames
    with ExitStack() as viewers:
        for _ in range(10):
            viewers.enter_context(slow_viewing(port, viewer.cookie))
        time.sleep(2)
        add("ten slow viewers", agent.measure(seconds))


@contextmanager
def _running(arguments: list[str]) -> Iterator[Agent]:
    with tempfile.TemporaryDirectory() as folder:
        agent = Agent(arguments, Path(folder))
        try:
            while not agent.frames:
                time.sleep(0.1)
            time.sleep(_WARM_UP_S)
            agent.remember_threads()
            yield agent
        finally:
            agent.stop()


def _processor_s(stat: Path) -> float:
    fields = stat.read_text(encoding="ascii", errors="replace").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    main()
