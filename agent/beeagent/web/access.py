"""Access to the page: the one-time link, passwords, sessions, and the throttle after failed sign-ins."""

import base64
import hashlib
import hmac
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from beeagent.errors import InputError
from beeagent.output import write_file
from beeagent.web.server import network_of

Role = Literal["viewer", "editor"]

MIN_PASSWORD: Final = 8  # characters
_MAX_PASSWORD: Final = 256
_MAX_FILE_BYTES: Final = 4096
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1  # 16 MB, some 50 ms
_SCRYPT_MEMORY: Final = 64 * 1024 * 1024
_TOKEN_BYTES: Final = 32

_LINK_S: Final = 3600.0
_SESSION_S: Final = 7 * 86400.0
_IDLE_S: Final = 12 * 3600.0
_MAX_SESSIONS: Final = 64

_FREE_GUESSES: Final = 5
_MAX_WAIT_S: Final = 60.0
_FORGET_S: Final = 900.0
_MAX_NETWORKS: Final = 1024
_TOTAL_BURST: Final = 20
_TOTAL_PER_S: Final = 1.0


@dataclass(slots=True)
class _Session:
    role: Role
    ends_at: float
    used_at: float


class Sessions:
    """The sessions, in memory: they end with the process, 12 hours after the last request, or after 7 days.

    Thread-safe.

    Args:
        clock: monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[bytes, _Session] = {}  # by the hash of the token, the oldest first

    def begin(self, role: Role) -> str:
        """Begin a session and return its token. If there are too many, the oldest session ends."""
        token, now = secrets.token_urlsafe(_TOKEN_BYTES), self._clock()
        with self._lock:
            self._end_old(now)
            while len(self._sessions) >= _MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[_hashed(token)] = _Session(role, now + _SESSION_S, now)
        return token

    def role(self, token: str) -> Role | None:
        """Return the role of the session with this token; None if there is no such session."""
        now = self._clock()
        with self._lock:
            self._end_old(now)
            session = self._sessions.get(_hashed(token))
            if session is None:
                return None
            session.used_at = now
            return session.role

    def end(self, token: str) -> None:
        """End the session with this token, if there is one."""
        with self._lock:
            self._sessions.pop(_hashed(token), None)

    def _end_old(self, now: float) -> None:
        for key in [
            key for key, session in self._sessions.items() if now >= min(session.ends_at, session.used_at + _IDLE_S)
        ]:
            del self._sessions[key]


class OneTimeToken:
    """A token for a single sign-in within an hour. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hashed: bytes | None = None
        self._ends_at = 0.0

    def renew(self) -> str:
        """Return a new token; the previous one becomes invalid."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        with self._lock:
            self._hashed, self._ends_at = _hashed(token), self._clock() + _LINK_S
        return token

    def use(self, token: str) -> bool:
        """Return True if the token is valid, and invalidate it."""
        with self._lock:
            if self._hashed is None or self._clock() >= self._ends_at:
                return False
            if not hmac.compare_digest(self._hashed, _hashed(token)):
                return False
            self._hashed = None
            return True


class Throttle:
    """Rate limit for failed sign-ins, per network and in total. Thread-safe.

    After 5 failures, a network has to wait a second; the wait doubles with each further failure, up to a minute.
    In total, 20 failures are free, and one more each second.

    Args:
        clock: monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, tuple[int, float]] = {}  # count and time of the last; oldest first
        self._total, self._total_at = float(_TOTAL_BURST), clock()

    def wait_s(self, client: str) -> float:
        """Return the seconds that a client has to wait before its next attempt; 0 for none."""
        now = self._clock()
        with self._lock:
            count, last = self._failures.get(network_of(client), (0, 0.0))
            wait = 0.0
            if count >= _FREE_GUESSES and now - last < _FORGET_S:
                wait = last + min(2.0 ** (count - _FREE_GUESSES), _MAX_WAIT_S) - now
            return max(0.0, wait, (1 - self._available(now)) / _TOTAL_PER_S)

    def failed(self, client: str) -> None:
        """Count a failed sign-in of a client."""
        now, network = self._clock(), network_of(client)
        with self._lock:
            count, last = self._failures.pop(network, (0, 0.0))
            self._failures[network] = (1 if now - last >= _FORGET_S else min(count + 1, 32), now)
            if len(self._failures) > _MAX_NETWORKS:
                del self._failures[next(iter(self._failures))]
            self._total, self._total_at = max(0.0, self._available(now) - 1), now

    def succeeded(self, client: str) -> None:
        """Reset the failures of a client."""
        with self._lock:
            self._failures.pop(network_of(client), None)

    def _available(self, now: float) -> float:
        return min(float(_TOTAL_BURST), self._total + (now - self._total_at) * _TOTAL_PER_S)


class Passwords:
    """The passwords of the roles, as salted hashes.

    Args:
        hashes: results of `hash_password`, by role.
    """

    def __init__(self, hashes: Mapping[Role, str]) -> None:
        self._hashes = dict(hashes)

    def has(self, role: Role) -> bool:
        """Return True if a role has a password."""
        return role in self._hashes

    def role(self, password: str) -> Role | None:
        """Return the role of a password; None if it matches no role.

        The time does not depend on the password: some 50 ms of a core, and 16 MB, for each role.
        """
        roles = [role for role, hashed in self._hashes.items() if _matches(password, hashed)]
        return "editor" if "editor" in roles else next(iter(roles), None)


def hash_password(password: str) -> str:
    """Return the salted hash of a password, for the password file.

    Raises:
        InputError: the password is too short or too long.
    """
    if not MIN_PASSWORD <= len(password) <= _MAX_PASSWORD:
        raise InputError(f"the password has {len(password)} characters: give {MIN_PASSWORD} to {_MAX_PASSWORD}")
    salt = os.urandom(16)
    key = _scrypt(password, salt, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P)
    parts = (base64.b64encode(part).decode() for part in (salt, key))
    return "$".join(("scrypt", str(_SCRYPT_N), str(_SCRYPT_R), str(_SCRYPT_P), *parts))


def read_passwords(path: Path) -> Passwords:
    """Read a password file: a line for each role, with its name and the hash of its password.

    Raises:
        InputError: the file cannot be read, is readable by others, or has another format.
    """
    return Passwords(_read_hashes(path))


def write_password(path: Path, role: Role, password: str) -> None:
    """Set the password of a role in a password file, created if missing and readable by its owner only.

    Raises:
        InputError: the file cannot be written or has another format, or the password is too short.
    """
    hashes = {**(_read_hashes(path) if path.exists() else {}), role: hash_password(password)}
    try:
        write_file(path, [f"{name} {hashed}\n".encode() for name, hashed in sorted(hashes.items())])
    except OSError as error:
        raise InputError(f"page_password_file {path} cannot be written: {error.strerror or error}") from error


def _read_hashes(path: Path) -> dict[Role, str]:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"page_password_file {path} cannot be read: {error.strerror or error}: make it with beeagent page password"
        ) from error
    if mode & 0o027:
        raise InputError(f"page_password_file {path} can be read or changed by others: chmod 600 {path}")
    hashes: dict[Role, str] = {}
    for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
        role, _, hashed = line.strip().partition(" ")
        known: Role | None = next((name for name in get_args(Role) if name == role), None)
        if known is None or len(content) > _MAX_FILE_BYTES or _parsed(hashed) is None:
            raise InputError(
                f"page_password_file {path}: line {number} is not a role with the hash of a password: make the file "
                "with beeagent page password"
            )
        hashes[known] = hashed
    if not hashes:
        raise InputError(f"page_password_file {path} is empty: make it with beeagent page password")
    return hashes


def _matches(password: str, hashed: str) -> bool:
    parsed = _parsed(hashed)
    if parsed is None or len(password) > _MAX_PASSWORD:
        return False
    n, r, p, salt, key = parsed
    return hmac.compare_digest(_scrypt(password, salt, n, r, p), key)


def _parsed(hashed: str) -> tuple[int, int, int, bytes, bytes] | None:
    try:
        name, n, r, p, salt, key = hashed.split("$")
        numbers = int(n), int(r), int(p)
        salt_bytes, key_bytes = (base64.b64decode(part, validate=True) for part in (salt, key))
    except ValueError:
        return None
    # Limited, so that a check cannot take all memory.
    if name != "scrypt" or numbers[0] not in {2**bits for bits in range(12, 17)} or numbers[1:] != (8, 1):
        return None
    return (*numbers, salt_bytes, key_bytes) if len(key_bytes) == 32 and len(salt_bytes) >= 8 else None


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    data = password.encode(errors="surrogatepass")
    return hashlib.scrypt(data, salt=salt, n=n, r=r, p=p, maxmem=2 * _SCRYPT_MEMORY, dklen=32)


def _hashed(token: str) -> bytes:
    """Return the hash of a token, which is stored in its place; the time of a look-up by hash reveals no token."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
