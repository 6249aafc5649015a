"""The command `beeagent` with a thread, named by FAILING, whose target raises as soon as the pipe TRIGGER is opened."""

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path

from beeagent.cli.app import main

_run = threading.Thread.run
_run_loop = asyncio.run


def _await_trigger() -> None:
    Path(os.environ["TRIGGER"]).read_bytes()  # waits until the test opens the other end


def _run_or_fail(self: threading.Thread) -> None:
    sys.stderr.write(f"started {self.name}\n")
    if self.name == os.environ["FAILING"]:
        _await_trigger()
        raise RuntimeError("made to fail")
    _run(self)


def _run_loop_and_fail(served: Coroutine[object, object, None]) -> None:
    async def fail() -> None:
        serving = asyncio.create_task(served)
        await asyncio.to_thread(_await_trigger)
        serving.cancel()
        raise RuntimeError("made to fail")

    _run_loop(fail())


if __name__ == "__main__":
    if os.environ["FAILING"] == "embedded-broker":  # it has to serve first
        asyncio.run = _run_loop_and_fail
    else:
        threading.Thread.run = _run_or_fail  # type: ignore[method-assign] # that is the point
    main()
