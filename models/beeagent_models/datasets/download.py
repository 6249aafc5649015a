"""`beeagent dataset download`: download a zip over HTTP, resume it if interrupted, verify and unpack it."""

import hashlib
import http.client
import json
import re
import shutil
import stat
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from beeagent.errors import BeeagentError, InputError
from beeagent.threads import Backoff

from beeagent_models.datasets.atomic_write import make_folder

_HASH_CHUNK = 1 << 20

_MAX_BYTES = 50 * 1024**3
"""Maximum size of an unpacked dataset, against zip bombs."""


def check_sha256(file: Path, expected: str) -> None:
    """Verify the SHA-256 of a file.

    Args:
        file: the file.
        expected: 64 hexadecimal digits.

    Raises:
        InputError: the SHA-256 differs.
    """
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected.lower():
        raise InputError(
            f"{file} has the SHA-256 {digest.hexdigest()}, not {expected.lower()}: it is not the expected file"
        )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file and verify the checksums of its files.

    Args:
        archive: the zip file.
        folder: folder to create; leftovers of an earlier attempt are removed.

    Raises:
        InputError: the archive is damaged, has paths outside of the folder, or cannot be written to disk. The folder is
            removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    done = False
    try:
        with zipfile.ZipFile(archive) as content:
            entries = content.infolist()
            _refuse_unsafe(entries, archive)
            folder.mkdir(parents=True)
            for entry in entries:
                content.extract(entry, folder)  # checks the CRC while it reads
        done = True
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise InputError(f"{archive}: is not a zip file, or is damaged: {error}") from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}") from None
    finally:
        if not done:
            shutil.rmtree(folder, ignore_errors=True)


def _refuse_unsafe(entries: list[zipfile.ZipInfo], archive: Path) -> None:
    if sum(entry.file_size for entry in entries) > _MAX_BYTES:
        raise InputError(f"{archive}: would unpack to more than {_MAX_BYTES} bytes")
    for entry in entries:
        # zipfile would silently write such entries under another name.
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(entry.external_attr >> 16):
            raise InputError(f"{archive}: has an entry outside of its folder: {entry.filename}")


_CHUNK = 1 << 18
_TIMEOUT_S = 30.0
_PART = ".part"

# Temporary errors (RFC 9110, section 15; 429 is RFC 6585).
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})

_HINTS = {
    401: ": it is not public",
    403: ": it is not public (any more), or does not exist: S3 returns 403 for both",
    404: ": there is nothing at this address (any more)",
    410: ": there is nothing at this address (any more)",
}

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_UNSATISFIED = re.compile(r"bytes \*/(\d+)")


@dataclass(frozen=True, slots=True)
class _Origin:
    """Version of the remote file that a partial download is of."""

    url: str
    validator: str | None
    size: int | None


class _InterruptedTransferError(Exception):
    """The transfer was interrupted and can be resumed."""


def download(  # noqa: PLR0913
    url: str,
    file: Path,
    *,
    tries: int,
    wait: Callable[[float], object],
    progress: Callable[[int, int | None], None] | None = None,
    size: int | None = None,
) -> None:
    """Download a file, with resumption.

    A partial download is kept as `<file>.part`, with its origin in `<file>.part.json`. The next attempt or call
    requests only the rest (`Range`), if the remote file has not changed (`If-Range`). A server without ranges, or with
    a changed file, sends the whole file, and the partial download is dropped.

    Args:
        url: http or https URL.
        file: file in an existing folder; it appears when the download is complete.
        tries: maximum number of consecutive attempts without new data, 1 or more.
        wait: waits for a number of seconds.
        progress: called with the number of bytes received and the total, or None if unknown.
        size: expected size in bytes; None if unknown.

    Raises:
        InputError: the URL is invalid, missing or not public, the size differs, or the file cannot be written.
        BeeagentError: the server cannot be reached, or the transfer was interrupted too often. Received data is kept.
    """
    _check_url(url)
    transfer = _Transfer(url, file, progress=progress, expected=size)
    backoff = Backoff(first=1.0, longest=30.0)
    left, received = tries, transfer.bytes_received()
    while (reason := _failure(transfer)) is not None:
        if transfer.bytes_received() > received:
            left, received = tries, transfer.bytes_received()
            backoff.reset()
        else:
            left -= 1
        if not left:
            raise BeeagentError(
                f"{url} could not be downloaded: {reason}; {transfer.bytes_received()} bytes are kept; the same "
                "command resumes the download"
            )
        wait(backoff.next())


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(f"the URL '{url}' is not an http or https URL; percent-encode non-ASCII characters as %XX")


def _failure(transfer: "_Transfer") -> str | None:
    """Make one attempt and return the reason of a temporary failure, or None."""
    try:
        transfer.attempt()
    except (_InterruptedTransferError, http.client.HTTPException, OSError) as error:
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

    def bytes_received(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def attempt(self) -> None:
        """Request the missing part once."""
        origin, start = self._partial()
        headers = {"Accept-Encoding": "identity", "User-Agent": "beeagent"}
        if origin is not None and origin.validator is not None:
            headers |= {"Range": f"bytes={start}-", "If-Range": origin.validator}
        request = urllib.request.Request(self._url, headers=headers)  # noqa: S310 - http or https: checked above
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - as above
                self._receive(response, origin, start)
        except urllib.error.HTTPError as error:
            with error:
                self._handle_error(error, start)

    def _partial(self) -> tuple[_Origin | None, int]:
        """Return origin and size of the partial download; None and 0 if the origin is unknown."""
        start = self.bytes_received()
        try:
            origin = _Origin(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None, 0
        return (origin, start) if start and origin.url == self._url else (None, 0)

    def _receive(self, response: Any, origin: _Origin | None, start: int) -> None:  # noqa: ANN401 - urllib's own
        if response.status == http.client.PARTIAL_CONTENT:
            match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if origin is None or match is None or int(match[1]) != start:
                raise self._restart("the server sent another range than requested")
            # Some servers support Range, but not If-Range.
            if _validator(response.headers) not in {None, origin.validator}:
                raise self._restart("the file on the server has changed")
            total: int | None = int(match[3])
        else:
            start = 0
            length = response.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            origin = _Origin(self._url, _validator(response.headers), total)
        if origin.size not in {None, total}:
            raise self._restart("the file on the server has changed")
        self._check_size(total)
        try:
            # The old data is truncated before the origin is written, so the two always match.
            with self._part.open("ab" if start else "wb") as file:
                self._note.write_text(json.dumps(asdict(origin)), encoding="utf-8")
                received = start
                for chunk in _chunks(response):
                    file.write(chunk)
                    received += len(chunk)
                    if self._progress is not None:
                        self._progress(received, total)
        except OSError as error:
            raise InputError(f"{self._part} cannot be written: {error.strerror or error}") from None
        self._finish(total)

    def _handle_error(self, error: urllib.error.HTTPError, start: int) -> None:
        """Handle an HTTP error."""
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            match = _UNSATISFIED.fullmatch(error.headers.get("Content-Range", ""))
            if match is not None and int(match[1]) == start:
                # The last attempt was interrupted after the last byte.
                self._check_size(start)
                self._finish(start)
                return
            raise self._restart("the server does not have the requested range") from None
        what = f"{self._url} was refused: {error.code} {error.reason}"
        if error.code in _TEMPORARY:
            raise _InterruptedTransferError(what) from None
        raise InputError(what + _HINTS.get(error.code, "")) from None

    def _check_size(self, total: int | None) -> None:
        if self._expected is not None and total is not None and total != self._expected:
            self._drop()
            raise InputError(f"{self._url} has {total} bytes, not {self._expected}: it is not the expected file")

    def _finish(self, total: int | None) -> None:
        received = self.bytes_received()
        if total is not None and received < total:
            raise _InterruptedTransferError(f"the connection was lost after {received} of {total} bytes")
        if total is not None and received > total:
            raise self._restart(f"the server sent {received} bytes instead of {total}")
        self._check_size(received)
        self._part.replace(self._file)
        self._note.unlink(missing_ok=True)

    def _restart(self, reason: str) -> _InterruptedTransferError:
        """Drop the partial download, and return the error for another attempt."""
        self._drop()
        return _InterruptedTransferError(reason)

    def _drop(self) -> None:
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _chunks(response: Any) -> Iterator[bytes]:  # noqa: ANN401 - urllib's own
    """Yield the received data; failures of the transfer raise `_InterruptedTransferError`, unlike those of the disk."""
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _InterruptedTransferError(str(error) or type(error).__name__) from None
        if not chunk:
            return
        yield chunk


def _validator(headers: Any) -> str | None:  # noqa: ANN401 - urllib's own
    """Return the validator of a file version: a strong ETag, or else the date (RFC 9110, section 13.1.5)."""
    tag = headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return str(tag)
    date = headers.get("Last-Modified")
    return str(date) if date else None


ARTICLE_URL = "https://tf2-object-detection.s3-eu-west-1.amazonaws.com/data/bees/input/dataset.zip"
"""The 500 photographs of the reference article with their Ground Truth manifest (label attribute `bees-500`), CC0."""

_TEMPORARY_SUFFIX = ".download"
"""Suffix of the temporary folder of an incomplete download."""

_UNPACKED = "unpacked"
_DONE = ".downloaded-from"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def download_dataset(  # noqa: PLR0913
    url: str,
    folder: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    keep: bool = False,
    tries: int = 5,
    wait: Callable[[float], object],
    progress: Callable[[int, int | None], None] | None = None,
) -> list[Path]:
    """Download a zip file and unpack it.

    An interrupted download is resumed; for a complete one, nothing is done.

    Args:
        url: URL of the zip file.
        folder: output folder, which must not exist or be empty; it appears when the download is complete. Until then,
            data is in `<folder>.download`.
        sha256: SHA-256 of the zip file, 64 hexadecimal digits; None if unknown.
        size: size of the zip file in bytes; None if unknown.
        keep: keep the zip file in the folder.
        tries: maximum number of consecutive attempts without new data.
        wait: waits for a number of seconds.
        progress: called with the number of bytes received and the total, or None if unknown.

    Returns:
        The manifests in the folder.

    Raises:
        InputError: a value, the URL, the zip file or the folder cannot be used. A damaged zip file is removed.
        BeeagentError: the server cannot be reached, or the transfer was interrupted too often. Received data is kept.
    """
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise InputError(f"the SHA-256 is '{sha256}': it must be 64 hexadecimal digits")
    if _is_done(folder, url):
        return sorted(folder.rglob("*.manifest"))
    temporary = folder.absolute().with_name(folder.absolute().name + _TEMPORARY_SUFFIX)
    make_folder(temporary)
    archive = temporary / (PurePosixPath(urlsplit(url).path).name or "dataset.zip")
    if not archive.is_file():
        download(url, archive, tries=tries, wait=wait, progress=progress, size=size)
    try:
        if sha256 is not None:
            check_sha256(archive, sha256)
        unpack(archive, temporary / _UNPACKED)
    except InputError:
        archive.unlink()
        raise
    try:
        (temporary / _UNPACKED / _DONE).write_text(url + "\n", encoding="utf-8")
        if keep:
            archive.replace(temporary / _UNPACKED / archive.name)
        (temporary / _UNPACKED).rename(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be created: {error.strerror or error}") from None
    shutil.rmtree(temporary)
    return sorted(folder.rglob("*.manifest"))


def _is_done(folder: Path, url: str) -> bool:
    """Return True if the download is complete; refuse a folder with other content."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: give a new folder")
    done = folder / _DONE
    if done.is_file() and done.read_text(encoding="utf-8") == url + "\n":
        return True
    if next(folder.iterdir(), None) is not None:
        raise InputError(f"{folder} is not empty: give a new folder")
    return False
