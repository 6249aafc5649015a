"""An agent with a page, as a process that can be stopped and started again."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from support.beeagent_process import DEADLINE, RunningAgent, running_agent
from support.mosquitto import free_port

SCENE = "synthetic:640x360@8?seed=4&bees=6-10&length=0.07-0.1"
_LINK = re.compile(r"http://\S+#token=\S+")


class PageAgent:
    """Processes the drawn scene, without a broker, with the password of a viewer."""

    viewer_password = "what a viewer types"  # noqa: S105

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        passwords = folder / "passwords"
        subprocess.run(
            [sys.executable, "-m", "beeagent", "page", "password", passwords, "--role", "viewer"],
            input=f"{self.viewer_password}\n",
            text=True,
            check=True,
        )
        self._arguments = [
            *("--camera", SCENE, "--camera-name", "front", "--device", "hive-7", "--broker", "none"),
            *("--page", "--page-port", str(self.port), "--max-rate", "6", "--page-password-file", str(passwords)),
            *arguments,
        ]
        self.session: Any = None  # the cookies of an editor, since a link works once
        self._context: Any = None
        self._agent: RunningAgent

    @property
    def places(self) -> Path:
        """The file that the page writes."""
        return self.folder / "state" / "beeagent" / "hive-7-front.places.toml"

    def start(self) -> None:
        self._context = running_agent(*self._arguments, folder=self.folder)
        self._agent = self._context.__enter__()
        self.session = None
        self.link()

    def stop(self) -> None:
        self._agent.process.send_signal(signal.SIGTERM)
        code = self._agent.end()
        assert code == 0, self._agent.errors

    def end(self) -> None:
        self._context.__exit__(None, None, None)

    def link(self) -> str:
        """Return the newest link of the log."""
        return self._links(1)[-1]

    def new_link(self) -> str:
        """Ask for another link; each works once."""
        before = len(self._links(1))
        self._agent.process.send_signal(signal.SIGHUP)
        return self._links(before + 1)[-1]

    def _links(self, count: int) -> list[str]:
        """Wait until the log has a number of links."""
        deadline = time.monotonic() + DEADLINE
        while len(found := _LINK.findall("\n".join(self._agent.errors))) < count:
            assert self._agent.process.poll() is None, self._agent.errors
            assert time.monotonic() < deadline, self._agent.errors
            time.sleep(0.05)  # until the process has written it
        return found
