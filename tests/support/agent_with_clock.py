"""The command `beeagent` with the clock time read from the file CLOCK."""

import os
from datetime import datetime
from pathlib import Path

from beeagent.camera import sleep
from beeagent.cli.app import main


def _time_in_file() -> datetime:
    return datetime.fromisoformat(Path(os.environ["CLOCK"]).read_text(encoding="utf-8"))


if __name__ == "__main__":
    sleep._utc_now = _time_in_file
    main()
