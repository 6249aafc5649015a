"""The command `beeagent`, also as `python -m beeagent`.

Light: only what is built into Python is imported before Ctrl-C is handled. Even `signal` imports for milliseconds.
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
    """Run the command line; interrupted at any moment, leave with exit code 130 and without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as under nohup
        signal.signal(signal.SIGINT, _interrupt)
    try:
        from beeagent.cli.app import main as run_command_line  # noqa: PLC0415 - see above

        run_command_line()
    except KeyboardInterrupt:
        sys.exit(_EXIT_INTERRUPTED)
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, _leave)


def _interrupt(number: int, frame: "FrameType | None") -> None:
    """Raise KeyboardInterrupt, unless a module is being imported: some turn it into another error, or pass over it."""
    inner = frame
    while inner is not None:
        if inner.f_code.co_filename == _IMPORT:
            _leave(number, frame)
        inner = inner.f_back
    raise KeyboardInterrupt


def _leave(_number: int, _frame: "FrameType | None") -> None:
    os._exit(_EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
