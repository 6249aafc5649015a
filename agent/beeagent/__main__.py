"""The command `beeagent`, also as `python -m beeagent`.

Only built-in modules are imported before Ctrl-C is handled: even importing `signal` takes milliseconds.
"""

import _signal as signal  # type: ignore[import-not-found]  # the standard library's `signal` without its enums
import os
import sys

TYPE_CHECKING = False  # without importing `typing`
if TYPE_CHECKING:
    from types import FrameType

_EXIT_INTERRUPTED = 130
_IMPORT = "<frozen importlib._bootstrap>"


def main() -> None:
    """Run the command line; if interrupted at any time, exit with 130 and without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not if it is ignored, as under nohup
        signal.signal(signal.SIGINT, _interrupt)
    try:
        from beeagent.cli.app import main as run_command_line  # noqa: PLC0415 - slow

        run_command_line()
    except KeyboardInterrupt:
        sys.exit(_EXIT_INTERRUPTED)
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, _exit)


def _interrupt(number: int, frame: "FrameType | None") -> None:
    """Raise KeyboardInterrupt; exit during an import, since some modules convert or ignore the exception."""
    inner = frame
    while inner is not None:
        if inner.f_code.co_filename == _IMPORT:
            _exit(number, frame)
        inner = inner.f_back
    raise KeyboardInterrupt


def _exit(_number: int, _frame: "FrameType | None") -> None:
    os._exit(_EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
