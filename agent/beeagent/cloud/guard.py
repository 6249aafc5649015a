"""Decides whether the cloud model may be called now: rate and budget, the service's requests to wait, its failures.

Also what the cloud model costs: calls per minute and per day, limited across restarts, and the hours that it runs.
"""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, Literal, TypeVar

from beeagent.backoff import Backoff
from beeagent.errors import BeeagentError, InputError
from beeagent.output import prepare_tables

_LOG: Final = logging.getLogger(__name__)

_APPLICATION_ID: Final = 0x62656562  # "beeb"; marks a budget file
_FORMAT: Final = 1
_MINUTE_S: Final = 60.0
_MAX_DATES: Final = 64
_MAX_GAP_S: Final = 3600.0  # results further apart say nothing about the time between
_MAX_WAIT_S: Final = 3600.0  # whatever the service asks for: a malformed response must not end the calls for good

_TABLES: Final = """
CREATE TABLE day (date TEXT PRIMARY KEY, calls INTEGER NOT NULL, touched INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE recent (at REAL NOT NULL)
"""

T = TypeVar("T")

FailureReason = Literal[
    "timeout", "throttled", "budget", "rate", "breaker-open", "model-not-running", "credentials", "refused",
    "queue-full",
]  # fmt: skip
"""The values of `fallback.reason` in a message:

- `timeout`: no result in time: the service is slow, unreachable, closed the connection or failed internally.
- `throttled`: the service asked for fewer calls; also until the wait it asked for is over.
- `budget`, `rate`: the limit of calls per day, or per minute, is reached.
- `breaker-open`: the last calls failed; none is made until a wait is over.
- `model-not-running`: nobody has started the cloud model.
- `credentials`: there are none, or they do not permit the call.
- `refused`: the service rejects the call or the image, or its response is malformed.
- `queue-full`: more frames are unsure than can be processed.
"""


class CloudDetectionError(BeeagentError):
    """The cloud model has no result for a frame.

    Attributes:
        reason: why, as the message reports it.
        is_service_failure: whether it counts as a failure of the service, and is not about this frame alone.
        retry_after_s: seconds that the service asked to wait before the next call; None if it did not ask.
    """

    def __init__(
        self,
        reason: FailureReason,
        message: str,
        *,
        is_service_failure: bool = True,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason: FailureReason = reason
        self.is_service_failure = is_service_failure
        self.retry_after_s = retry_after_s


class CallBudget:
    """Permits calls within the limits, each written to disk before it is permitted.

    So neither a restart nor a power cut refunds a call, and a call that cannot be recorded is not permitted. The SD
    card sees one small commit per call, and the limits bound those too.

    A day is a date in UTC by the device's clock, and each date has its own count, so a clock that jumps back and forth
    finds the calls already made. The minute is measured by the monotonic clock; across a restart it is taken from the
    wall clock, and calls that then lie in the future count as just made.

    Safe from any thread; one process at a time.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        per_minute: int,
        per_day: int,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the file, or create it.

        Args:
            path: the SQLite file; its folder is created if necessary; None keeps the counts in memory.
            per_minute: calls within any 60 seconds, 0 or more.
            per_day: calls on any date, 0 or more.
            wall: seconds since 1970.
            clock: monotonic seconds.

        Raises:
            InputError: the file cannot be used.
        """
        self._per_minute = per_minute
        self._per_day = per_day
        self._wall = wall
        self._clock = clock
        self._lock = threading.Lock()
        self._database = _open(path)
        now, here = wall(), clock()
        ages = [now - at for (at,) in self._database.execute("SELECT at FROM recent ORDER BY rowid")]
        self._recent = deque(sorted(here - max(0.0, age) for age in ages if age < _MINUTE_S))

    def spend(self) -> Literal["rate", "budget"] | None:
        """Record one call, and return None; or return the limit that is reached, of the minute or of the day."""
        with self._lock:
            here = self._clock()
            while self._recent and here - self._recent[0] >= _MINUTE_S:
                self._recent.popleft()
            if len(self._recent) >= self._per_minute:
                return "rate"
            try:
                if self._spent_today() >= self._per_day:
                    return "budget"
                self._record()
            except sqlite3.Error as error:
                _LOG.warning("no second opinion: the calls cannot be counted (%s)", error)
                return "budget"
            self._recent.append(here)
            return None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _date(self) -> str:
        return datetime.fromtimestamp(self._wall(), tz=timezone.utc).date().isoformat()

    def _spent_today(self) -> int:
        row = self._database.execute("SELECT calls FROM day WHERE date = ?", (self._date(),)).fetchone()
        return int(row[0]) if row else 0

    def _record(self) -> None:
        execute = self._database.execute
        with self._database:  # one transaction
            execute("BEGIN IMMEDIATE")
            execute(
                "INSERT INTO day VALUES (?, 1, (SELECT coalesce(max(touched), 0) + 1 FROM day))"
                " ON CONFLICT (date) DO UPDATE SET calls = calls + 1, touched = excluded.touched",
                (self._date(),),
            )
            execute(
                "DELETE FROM day WHERE date NOT IN (SELECT date FROM day ORDER BY touched DESC LIMIT ?)", (_MAX_DATES,)
            )
            execute("INSERT INTO recent VALUES (?)", (self._wall(),))
            execute(
                "DELETE FROM recent WHERE rowid NOT IN (SELECT rowid FROM recent ORDER BY rowid DESC LIMIT ?)",
                (self._per_minute,),
            )


class RunningTime:
    """Adds up the time between results of the cloud model, which AWS bills by the hour.

    Two results at most an hour apart count as one period in which the model ran, unless the service reported in between
    that it does not. So the sum is a lower bound: the time before the first result and after the last is not observed.

    Not thread-safe.

    Attributes:
        seconds: for which the model was observed running.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at zero; `clock` returns monotonic seconds."""
        self._clock = clock
        self._last: float | None = None
        self.seconds = 0.0

    def note_result(self) -> None:
        """The model returned a result just now."""
        now = self._clock()
        if self._last is not None and now - self._last <= _MAX_GAP_S:
            self.seconds += now - self._last
        self._last = now

    def note_not_running(self) -> None:
        """The service reported just now that the model does not run."""
        self._last = None


class CallGuard:
    """Makes a call if budget, throttling and circuit breaker permit it, and learns from its outcome.

    The circuit breaker opens after some failures in a row. Once its wait is over it permits one call at a time as a
    probe: success closes it, failure opens it again for longer. Throttling is no failure: the service is up, and has
    said what it wants.

    Safe from any thread.
    """

    def __init__(
        self,
        budget: CallBudget,
        *,
        failures: int = 5,
        open_backoff: Backoff | None = None,
        throttle_backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with the circuit breaker closed.

        Args:
            budget: limits the calls per minute and per day.
            failures: failures in a row that open the circuit breaker, 1 or more.
            open_backoff: waits of the open circuit breaker, in seconds; None for 30 s to half an hour.
            throttle_backoff: waits when throttled where the service does not say how long; None for 2 s to 2 minutes.
            clock: monotonic seconds.

        Raises:
            ValueError: `failures` is below 1.
        """
        if failures < 1:
            raise ValueError(f"failures is {failures}: a circuit breaker opens after 1 or more")
        self._budget = budget
        self._max_failures = failures
        self._open_backoff = open_backoff or Backoff(first=30.0, longest=1800.0)
        self._throttle_backoff = throttle_backoff or Backoff(first=2.0, longest=120.0)
        self._clock = clock
        self._lock = threading.Lock()
        self._throttled_until = float("-inf")
        self._failures = 0  # in a row
        self._open_until: float | None = None  # None while closed
        self._probing = False

    def call(self, function: Callable[[], T]) -> T:
        """Return what `function` returns, if it may be called.

        Raises:
            CloudDetectionError: it may not be called, or raised this.
        """
        probe = self._admit()
        try:
            self._spend()  # last, as it is not refunded
            result = function()
        except Exception as error:
            self._note_error(error, probe=probe)
            raise
        self._note_success()
        return result

    def close(self) -> None:
        """Close the file of the budget; nothing may be called any more."""
        self._budget.close()

    def _admit(self) -> bool:
        """Raise if no call is due; else return whether the call is a probe."""
        with self._lock:
            now = self._clock()
            if now < self._throttled_until:
                raise CloudDetectionError("throttled", "the service asked to wait, and the wait is not over")
            if self._open_until is None:
                return False
            if self._probing or now < self._open_until:
                raise CloudDetectionError("breaker-open", "the last calls failed, and the next one is not due")
            self._probing = True
            return True

    def _spend(self) -> None:
        limit = self._budget.spend()
        if limit is not None:
            period = "minute" if limit == "rate" else "day"
            raise CloudDetectionError(limit, f"the limit of calls per {period} is reached", is_service_failure=False)

    def _note_success(self) -> None:
        # Also of a call from before the circuit breaker opened: the service responds.
        with self._lock:
            self._failures = 0
            self._open_until = None
            self._probing = False
            self._open_backoff.reset()
            self._throttle_backoff.reset()

    def _note_error(self, error: Exception, *, probe: bool) -> None:
        with self._lock:
            if isinstance(error, CloudDetectionError) and error.reason == "throttled":
                self._throttle(error.retry_after_s)
            elif not isinstance(error, CloudDetectionError) or error.is_service_failure:
                self._note_failure(probe=probe)
            if probe:
                self._probing = False

    def _throttle(self, seconds: float | None) -> None:
        now = self._clock()
        # Several calls that were in progress are throttled together: that counts once.
        wait = self._throttle_backoff.next() if now >= self._throttled_until else 0.0
        self._throttled_until = max(self._throttled_until, now + max(wait, min(seconds or 0.0, _MAX_WAIT_S)))

    def _note_failure(self, *, probe: bool) -> None:
        if probe:
            opens = self._probing  # not if another call has succeeded meanwhile
        else:
            self._failures += 1
            opens = self._open_until is None and self._failures >= self._max_failures
        if opens:
            self._open_until = self._clock() + self._open_backoff.next()
            self._probing = False


def _open(path: Path | None) -> sqlite3.Connection:
    with ExitStack() as on_failure:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            target = ":memory:" if path is None else path
            database = sqlite3.connect(target, timeout=1.0, isolation_level=None, check_same_thread=False)
            on_failure.callback(database.close)
            _prepare(database, path)
        except (OSError, sqlite3.OperationalError) as error:
            raise InputError(
                f"budget {path} cannot be opened: {error}; check the folder and its permissions"
            ) from error
        except sqlite3.DatabaseError as error:
            raise InputError(f"budget {path} is damaged or not a budget file ({error}): move it away") from error
        on_failure.pop_all()
        return database


def _prepare(database: sqlite3.Connection, path: Path | None) -> None:
    # Two processes would respect the limit per day, but each would have its own limit per minute.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    prepare_tables(
        database,
        f"budget {path}",
        tables=_TABLES,
        version=_FORMAT,
        # Calls cost money: what was permitted is on disk, even after a power cut.
        pragmas=("journal_mode = WAL", "synchronous = FULL"),
        application_id=_APPLICATION_ID,
    )
