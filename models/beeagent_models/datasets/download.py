"""Fetches a large file over HTTP: goes on where it was cut off, and never joins the halves of two different files."""

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from beeagent.backoff import Backoff
from beeagent.errors import BeeagentError, InputError

_CHUNK = 1 << 18
_TIMEOUT_S = 30.0
_PART = ".part"

# Of these the server says itself that another try may go well (RFC 9110, section 15; 429 is RFC 6585).
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_UNSATISFIED = re.compile(r"bytes \*/(\d+)")


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the first half of a file came from; the second half must come from the same."""

    url: str
    validator: str | None
    size: int | None


class _CutOffError(Exception):
    """The transfer ended early; another try may go on."""


def download(  # noqa: PLR0913 - each a choice of its own
    url: str,
    file: Path,
    *,
    tries: int,
    wait: Callable[[float], object],
    progress: Callable[[int, int | None], None] | None = None,
    size: int | None = None,
) -> None:
    """Fetch a file.

    What arrived is kept beside it, in `<file>.part`, with a note of what it came from: the next try, or the next call,
    asks for the rest only (`Range`), and only if the file on the server is still the same (`If-Range`). A server that
    has no ranges, or another file by now, sends all of it, and what was kept is dropped.

    Args:
        url: an address of http or https.
        file: where it goes, in one step when all of it is there; its folder exists.
        tries: how often to begin without a byte more arriving, 1 or more; any that did starts the count anew.
        wait: waits for so many seconds.
        progress: called with the bytes that are there, and with those of the whole or None.
        size: of the file in bytes, if it is known.

    Raises:
        InputError: the address is none, there is nothing or nothing for us at it, its size is not what it should be,
            or the disk cannot take it.
        BeeagentError: the server could not be reached or kept breaking off. What arrived is kept.
    """
    _check_url(url)
    transfer = _Transfer(url, file, progress=progress, expected=size)
    backoff = Backoff(first=1.0, longest=30.0)
    left, most = tries, transfer.bytes_here()
    while (reason := _failure(transfer)) is not None:
        if transfer.bytes_here() > most:
            left, most = tries, transfer.bytes_here()
            backoff.reset()
        else:
            left -= 1
        if not left:
            raise BeeagentError(
                f"{url} could not be fetched: {reason}; {transfer.bytes_here()} bytes are here, and the same command "
                "goes on"
            )
        wait(backoff.next())


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(f"the address '{url}' is none of http or https; write what is not ASCII in it as %XX")


def _failure(transfer: "_Transfer") -> str | None:
    """Try once; gives why it failed, if another try may go well."""
    try:
        transfer.attempt()
    except (_CutOffError, http.client.HTTPException, OSError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    return None


class _Transfer:
    def __init__(
        self, url: str, file: Path, *, progress: Callable[[int, int | None], None] | None, expected: int | None
    ) -> None:
        self._url = url
        self._file = file
        self._part = file.with_name(file.name + _PART)
        self._note = file.with_name(file.name + _PART + ".json")
        self._progress = progress
        self._expected = expected

    def bytes_here(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def attempt(self) -> None:
        """Fetch what is missing, once."""
        origin, start = self._kept()
        headers = {"Accept-Encoding": "identity", "User-Agent": "beeagent"}
        if origin is not None and origin.validator is not None:
            headers |= {"Range": f"bytes={start}-", "If-Range": origin.validator}
        request = urllib.request.Request(self._url, headers=headers)  # noqa: S310 - http or https: checked above
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - as above
                self._take(response, origin, start)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, start)

    def _kept(self) -> tuple[_Origin | None, int]:
        """Give what the kept bytes came from, and their number; nothing is kept of which that is not known."""
        start = self.bytes_here()
        try:
            origin = _Origin(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None, 0
        return (origin, start) if start and origin.url == self._url else (None, 0)

    def _take(self, response: Any, origin: _Origin | None, start: int) -> None:  # noqa: ANN401 - urllib's own
        if response.status == http.client.PARTIAL_CONTENT:
            match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if origin is None or match is None or int(match[1]) != start:
                self._drop()
                raise _CutOffError("the server sent another part of the file than was asked for")
            # Some servers know ranges, but not If-Range.
            if _validator(response.headers) not in {None, origin.validator}:
                self._drop()
                raise _CutOffError("the file on the server has changed")
            total: int | None = int(match[3])
        else:
            start = 0
            length = response.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            origin = _Origin(self._url, _validator(response.headers), total)
        if origin.size not in {None, total}:
            self._drop()
            raise _CutOffError("the file on the server has changed")
        self._check_size(total)
        try:
            # First without what was kept, then the note: never a note beside bytes that are not of its file.
            with self._part.open("ab" if start else "wb") as file:
                self._note.write_text(json.dumps(asdict(origin)), encoding="utf-8")
                here = start
                for chunk in _chunks(response):
                    file.write(chunk)
                    here += len(chunk)
                    if self._progress is not None:
                        self._progress(here, total)
        except OSError as error:
            raise InputError(f"{self._part} cannot be written: {error.strerror or error}") from None
        self._finish(total)

    def _refused(self, error: urllib.error.HTTPError, start: int) -> None:
        """Deal with an answer that brings no bytes."""
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            match = _UNSATISFIED.fullmatch(error.headers.get("Content-Range", ""))
            if match is not None and int(match[1]) == start:
                # The last try broke off after the last byte.
                self._check_size(start)
                self._finish(start)
                return
            self._drop()
            raise _CutOffError("the server has no such part of the file") from None
        what = f"{self._url} was refused: {error.code} {error.reason}"
        if error.code in _PASSING:
            raise _CutOffError(what) from None
        hint = {
            http.client.NOT_FOUND: "there is nothing at this address (any more)",
            http.client.GONE: "there is nothing at this address (any more)",
            http.client.FORBIDDEN: "it is not public (any more), or its name is wrong: S3 answers so to both",
            http.client.UNAUTHORIZED: "it is not public",
        }.get(error.code)
        raise InputError(f"{what}{': ' + hint if hint else ''}") from None

    def _check_size(self, total: int | None) -> None:
        if self._expected is not None and total is not None and total != self._expected:
            self._drop()
            raise InputError(f"{self._url} has {total} bytes, not {self._expected}: it is another file")

    def _finish(self, total: int | None) -> None:
        here = self.bytes_here()
        if total is not None and here < total:
            raise _CutOffError(f"the connection broke off after {here} of {total} bytes")
        if total is not None and here > total:
            self._drop()
            raise _CutOffError(f"the server sent {here} bytes and had announced {total}")
        self._check_size(here)
        self._part.replace(self._file)
        self._note.unlink(missing_ok=True)

    def _drop(self) -> None:
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _chunks(response: Any) -> Iterator[bytes]:  # noqa: ANN401 - urllib's own
    """Give what arrives; whatever ends it too early comes out as one error, told apart from those of the disk."""
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _CutOffError(str(error) or type(error).__name__) from None
        if not chunk:
            return
        yield chunk


def _validator(headers: Any) -> str | None:  # noqa: ANN401 - urllib's own
    """Give what tells this file from a later one: a strong entity tag, or else the date (RFC 9110, section 13.1.5)."""
    tag = headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return str(tag)
    date = headers.get("Last-Modified")
    return str(date) if date else None
