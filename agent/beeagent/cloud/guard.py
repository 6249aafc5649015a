"""Guard of calls of the cloud model: rate limit, budget, throttling and circuit breaker.

It also measures the cost of the cloud model: calls per minute and per day, across restarts, and its running time.
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

from beeagent.errors import BeeagentError, InputError
from beeagent.output import prepare_tables
from beeagent.threads import Backoff

_LOG: Final = logging.getLogger(__name__)

_APPLICATION_ID: Final = 0x62656562  # "beeb"; marks a budget file
_FORMAT: Final = 1
_MINUTE_S: Final = 60.0
_MAX_DATES: Final = 64
_MAX_GAP_S: Final = 3600.0  # between two results for which the model counts as running
_MAX_WAIT_S: Final = 3600.0  # limit for the service's requested wait, since a malformed response must not end all calls

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

- `timeout`: no result in time, since the service is slow, unreachable, closed the connection or failed internally.
- `throttled`: the service throttled a call, and the wait that it requested is not over.
- `budget`, `rate`: the limit of calls per day, or per minute, is reached.
- `breaker-open`: the last calls failed, and the circuit breaker is open.
- `model-not-running`: the cloud model is not running.
- `credentials`: there are no credentials, or they do not permit the call.
- `refused`: the service rejected the call or the image, or its response is malformed.
- `queue-full`: more frames are unsure than can be processed.
"""


class CloudDetectionError(BeeagentError):
    """The cloud model has no result for a frame.

    Attributes:
        reason: reason, as reported in the message.
        is_service_failure: True for a failure of the service, False for an error of this frame alone.
        retry_after_s: wait in seconds requested by the service before the next call; None without one.
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
    """Permits calls within the limits, and records each on disk before it is permitted.

    So neither a restart nor a power failure refunds a call, and a call that cannot be recorded is not permitted. Each
    call causes one small commit, so the limits also bound the wear of the SD card.

    A day is a date in UTC by the device's clock. Each date has its own count, which is kept if the clock jumps back and
    forth. The minute is measured by the monotonic clock; after a restart, by the wall clock, and calls in the future
    count as just made.

    Thread-safe; for one process at a time.
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
        """Open or create the file.

        Args:
            path: path of the SQLite file, whose folder is created if necessary; None to keep the counts in memory.
            per_minute: maximum number of calls within any 60 seconds, 0 or more.
            per_day: maximum number of calls on any date, 0 or more.
            wall: returns the seconds since 1970.
            clock: returns monotonic seconds.

        Raises:
            InputError: the file cannot be used.
        """
        self._per_minute = per_minute
        self._per_day = per_day
        self._wall = wall
        self._clock = clock
        self._lock = threading.Lock()
        self._database = _open(path)
        wall_now, now = wall(), clock()
        ages = [wall_now - at for (at,) in self._database.execute("SELECT at FROM recent ORDER BY rowid")]
        self._recent = deque(sorted(now - max(0.0, age) for age in ages if age < _MINUTE_S))

    def spend(self) -> Literal["rate", "budget"] | None:
        """Record one call and return None; or return the limit that is reached, per minute or per day."""
        with self._lock:
            now = self._clock()
            while self._recent and now - self._recent[0] >= _MINUTE_S:
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
            self._recent.append(now)
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
    """Sums up the time between results of the cloud model, which AWS bills by the hour.

    The model counts as running between two results at most an hour apart, unless the service has reported in between
    that it is not running. The sum is a lower bound, without the time before the first and after the last result.

    Not thread-safe.

    Attributes:
        seconds: observed running time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at zero; `clock` returns monotonic seconds."""
        self._clock = clock
        self._last: float | None = None
        self.seconds = 0.0

    def note_result(self) -> None:
        """Record that the model has returned a result."""
        now = self._clock()
        if self._last is not None and now - self._last <= _MAX_GAP_S:
            self.seconds += now - self._last
        self._last = now

    def note_not_running(self) -> None:
        """Record that the service has reported that the model is not running."""
        self._last = None


class CallGuard:
    """Makes a call if budget, throttling and circuit breaker permit it, and updates them by the outcome.

    The circuit breaker opens after several consecutive failures. After its wait it permits one call at a time as a
    probe: success closes it, failure opens it again for a longer wait. Throttling does not count as a failure.

    Thread-safe.
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
            budget: limits of calls per minute and per day.
            failures: number of consecutive failures that open the circuit breaker, 1 or more.
            open_backoff: waits of the open circuit breaker; None for 30 s to half an hour.
            throttle_backoff: waits after throttling without a requested wait; None for 2 s to 2 minutes.
            clock: returns monotonic seconds.

        Raises:
            ValueError: `failures` is below 1.
        """
        if failures < 1:
            raise ValueError(f"failures must be 1 or more, not {failures}")
        self._budget = budget
        self._max_failures = failures
        self._open_backoff = open_backoff or Backoff(first=30.0, longest=1800.0)
        self._throttle_backoff = throttle_backoff or Backoff(first=2.0, longest=120.0)
        self._clock = clock
        self._lock = threading.Lock()
        self._throttled_until = float("-inf")
        self._failures = 0  # consecutive
        self._open_until: float | None = None  # None while closed
        self._probing = False

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` if this is permitted, and return its result.

        Raises:
            CloudDetectionError: the call is not permitted, or raised this error.
        """
        probe = self._admit()
        try:
            self._spend()  # last, since it is not refunded
            result = function()
        except Exception as error:
            self._note_error(error, probe=probe)
            raise
        self._note_success()
        return result

    def close(self) -> None:
        """Close the file of the budget. No call is permitted any more."""
        self._budget.close()

    def _admit(self) -> bool:
        """Return True if the call is a probe; raise if no call is permitted now."""
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
        # Also after a call made before the circuit breaker opened: the service responds.
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
        # Throttling of several concurrent calls counts once.
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
        # Calls cost money: a permitted call must be on disk, even after a power failure.
        pragmas=("journal_mode = WAL", "synchronous = FULL"),
        application_id=_APPLICATION_ID,
    )
