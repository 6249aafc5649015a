"""Check that the agent's memory does not grow: run it and monitor its resident memory.

    python bench/soak.py --minutes 60                     the synthetic scene at full speed, results discarded
    python bench/soak.py --minutes 1440 -- --camera 0 --broker mqtt://127.0.0.1

The arguments after `--` are options of `beeagent`. Linux only. The exit code is 1 if memory grew by more than
`--limit` megabytes (10^6 bytes) from the end of the warm-up to the end of the run, each taken as the median of five
minutes or of a tenth of the time, whichever is less.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_FULL_SPEED = ("--camera", "synthetic:1280x720?live=no", "--broker", "none", "--publish", "always")
_SAMPLES_A_MINUTE = 30


def main() -> int:
    """Run the agent, print its memory each minute and the growth at the end, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--limit", type=float, default=5.0, help="maximum growth in megabytes")
    parser.add_argument("options", nargs="*", help="options of beeagent, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="beeagent-soak-") as folder:
        command = [sys.executable, "-m", "beeagent", *(arguments.options or _FULL_SPEED), "--state-dir", folder]
        agent = subprocess.Popen(command)  # noqa: S603 - our own command
        try:
            samples = _watch(agent, minutes=arguments.minutes)
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait(30)
    return _judge(samples, minutes=arguments.minutes, limit=arguments.limit)


def _watch(agent: subprocess.Popen[bytes], *, minutes: float) -> list[float]:
    samples: list[float] = []
    began = time.monotonic()
    while len(samples) < minutes * _SAMPLES_A_MINUTE:
        time.sleep(max(0.0, began + (len(samples) + 1) * 60 / _SAMPLES_A_MINUTE - time.monotonic()))
        if agent.poll() is not None:
            raise SystemExit(f"the agent ended with {agent.returncode} after {len(samples)} samples")
        samples.append(_resident_mb(agent.pid))
        if len(samples) % _SAMPLES_A_MINUTE == 0:
            recent = samples[-_SAMPLES_A_MINUTE:]
            print(f"{len(samples) // _SAMPLES_A_MINUTE:5d} min  {statistics.median(recent):7.2f} MB", flush=True)
    return samples


def _resident_mb(pid: int) -> float:
    # Field 2 is the resident set in pages: proc_pid_statm(5).
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _judge(samples: list[float], *, minutes: float, limit: float) -> int:
    window = max(1, int(min(5.0, minutes / 10) * _SAMPLES_A_MINUTE))
    first, last = statistics.median(samples[window : 2 * window]), statistics.median(samples[-window:])
    print(f"after warm-up {first:.2f} MB, at the end {last:.2f} MB, largest {max(samples):.2f} MB")
    print(
        f"growth {last - first:+.2f} MB over {minutes - 1.5 * window / _SAMPLES_A_MINUTE:g} min, {limit:g} MB allowed"
    )
    return int(last - first > limit)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
