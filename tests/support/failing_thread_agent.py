"""The command `beeagent` with a thread, named by FAILING, whose target raises as soon as the pipe TRIGGER is opened."""

import asyncio
import os
import sys
import threading
from pathlib import Path

from beeagent.cli.app import main
from beeagent.mqtt.embedded import EmbeddedBroker

_run = threading.Thread.run
_serve = EmbeddedBroker._serve


def _await_trigger() -> None:
    Path(os.environ["TRIGGER"]).read_bytes()  # waits until the test opens the other end


def _run_or_fail(self: threading.Thread) -> None:
    sys.stderr.write(f"started {self.name}\n")
    if self.name == os.environ["FAILING"]:
        _await_trigger()
        raise RuntimeError("made to fail")
    _run(self)


async def _serve_and_fail(self: EmbeddedBroker) -> None:
    serving = asyncio.create_task(_serve(self))
    await asyncio.to_thread(_await_trigger)
    serving.cancel()
    raise RuntimeError("made to fail")


if __name__ == "__main__":
    if os.environ["FAILING"] == "embedded-broker":  # it has to serve first
        EmbeddedBroker._serve = _serve_and_fail  # type: ignore[method-assign] # that is the point
    else:
        threading.Thread.run = _run_or_fail  # type: ignore[method-assign] # that is the point
    main()
