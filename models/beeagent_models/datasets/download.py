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

from beeagent.backoff import Backoff
from beeagent.errors import BeeagentError, InputError

from beeagent_models.datasets.atomic_write import make_folder

_HASH_CHUNK = 1 << 20

_MAX_BYTES = 50 * 1024**3
"""What a dataset may have unpacked; a zip that claims more is a trap or a mistake."""


def check_sha256(file: Path, expected: str) -> None:
    """Refuse a file that is not the one that was meant.

    Args:
        file: the file.
        expected: 64 hexadecimal digits.

    Raises:
        InputError: its SHA-256 is another.
    """
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected.lower():
        raise InputError(f"{file} has the SHA-256 {digest.hexdigest()}, not {expected.lower()}: it is another file")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip into a folder, and check each file against its checksum.

    Args:
        archive: the zip.
        folder: created; the remains of an earlier try are removed first.

    Raises:
        InputError: it is no zip or a damaged one, has a file that would land outside of the folder, or the disk
            cannot take it. The folder is gone then.
    """
    shutil.rmtree(folder, ignore_errors=True)
    done = False
    try:
        with zipfile.ZipFile(archive) as content:
            entries = content.infolist()
            _refuse_trap(entries, archive)
            folder.mkdir(parents=True)
            for entry in entries:
                content.extract(entry, folder)  # checks the CRC while it reads
        done = True
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise InputError(f"{archive}: is not a zip file, or damaged: {error}") from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}") from None
    finally:
        if not done:
            shutil.rmtree(folder, ignore_errors=True)


def _refuse_trap(entries: list[zipfile.ZipInfo], archive: Path) -> None:
    if sum(entry.file_size for entry in entries) > _MAX_BYTES:
        raise InputError(f"{archive}: would unpack to more than {_MAX_BYTES} bytes")
    for entry in entries:
        # zipfile would leave out the dots and write a file of another name; better to say that something is wrong.
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(entry.external_attr >> 16):
            raise InputError(f"{archive}: has an entry that would land outside of its folder: {entry.filename}")


_CHUNK = 1 << 18
_TIMEOUT_S = 30.0
_PART = ".part"

# Of these the server says itself that another try may go well (RFC 9110, section 15; 429 is RFC 6585).
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

_HINTS = {
    401: ": it is not public",
    403: ": it is not public (any more), or its name is wrong: S3 answers so to both",
    404: ": there is nothing at this address (any more)",
    410: ": there is nothing at this address (any more)",
}

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
        tries: maximum number of attempts in a row that receive nothing, 1 or more.
        wait: waits for a number of seconds.
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
                f"{url} could not be downloaded: {reason}; {transfer.bytes_here()} bytes are kept; the same command "
                "resumes it"
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
        """Return the origin and number of the bytes downloaded before; None and 0 if the origin is unknown."""
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
                raise self._restart("the server sent another part of the file than was asked for")
            # Some servers know ranges, but not If-Range.
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
            raise self._restart("the server has no such part of the file") from None
        what = f"{self._url} was refused: {error.code} {error.reason}"
        if error.code in _PASSING:
            raise _CutOffError(what) from None
        raise InputError(what + _HINTS.get(error.code, "")) from None

    def _check_size(self, total: int | None) -> None:
        if self._expected is not None and total is not None and total != self._expected:
            self._drop()
            raise InputError(f"{self._url} has {total} bytes, not {self._expected}: it is another file")

    def _finish(self, total: int | None) -> None:
        here = self.bytes_here()
        if total is not None and here < total:
            raise _CutOffError(f"the connection broke off after {here} of {total} bytes")
        if total is not None and here > total:
            raise self._restart(f"the server sent {here} bytes and had announced {total}")
        self._check_size(here)
        self._part.replace(self._file)
        self._note.unlink(missing_ok=True)

    def _restart(self, reason: str) -> _CutOffError:
        """Drop what was kept, and return the error with which the next try begins anew."""
        self._drop()
        return _CutOffError(reason)

    def _drop(self) -> None:
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _chunks(response: Any) -> Iterator[bytes]:  # noqa: ANN401 - urllib's own
    """Yield the data received; any failure of the transfer raises `_CutOffError`, unlike errors of the disk."""
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _CutOffError(str(error) or type(error).__name__) from None
        if not chunk:
            return
        yield chunk


def _validator(headers: Any) -> str | None:  # noqa: ANN401 - urllib's own
    """Return the validator of this version of a file: a strong ETag, or else the date (RFC 9110, section 13.1.5)."""
    tag = headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return str(tag)
    date = headers.get("Last-Modified")
    return str(date) if date else None


ARTICLE_URL = "https://tf2-object-detection.s3-eu-west-1.amazonaws.com/data/bees/input/dataset.zip"
"""The 500 photographs of the reference article with their Ground Truth manifest (label attribute `bees-500`), CC0."""

_BEGUN = ".download"
"""Ending of the folder beside, where a download grows until it is whole."""

_UNPACKED = "unpacked"
_DONE = ".downloaded-from"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def download_dataset(  # noqa: PLR0913 - each a choice of its own
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
    """Fetch a zip and unpack it.

    A call that was cut off goes on where it was; one for what is already there does nothing.

    Args:
        url: of the zip.
        folder: where it is unpacked, in one step; new or empty. Until then it grows in `<folder>.download`.
        sha256: of the zip, 64 hexadecimal digits, if it is known.
        size: of the zip in bytes, if it is known.
        keep: whether the zip stays in the folder.
        tries: how often to begin without a byte more arriving.
        wait: waits for a number of seconds.
        progress: called with the bytes that are there, and with those of the whole or None.

    Returns:
        The manifests that are in the folder.

    Raises:
        InputError: a value, the address, the zip or the folder cannot be used. A damaged zip is removed.
        BeeagentError: the server could not be reached or kept breaking off. What arrived is kept.
    """
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise InputError(f"the SHA-256 is '{sha256}': it must be 64 hexadecimal digits")
    if _is_done(folder, url):
        return sorted(folder.rglob("*.manifest"))
    begun = folder.absolute().with_name(folder.absolute().name + _BEGUN)
    make_folder(begun)
    archive = begun / (PurePosixPath(urlsplit(url).path).name or "dataset.zip")
    if not archive.is_file():
        download(url, archive, tries=tries, wait=wait, progress=progress, size=size)
    try:
        if sha256 is not None:
            check_sha256(archive, sha256)
        unpack(archive, begun / _UNPACKED)
    except InputError:
        archive.unlink()
        raise
    try:
        (begun / _UNPACKED / _DONE).write_text(url + "\n", encoding="utf-8")
        if keep:
            archive.replace(begun / _UNPACKED / archive.name)
        (begun / _UNPACKED).rename(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror or error}") from None
    shutil.rmtree(begun)
    return sorted(folder.rglob("*.manifest"))


def _is_done(folder: Path, url: str) -> bool:
    """Return whether the download is complete; refuse a folder with other content."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: name a new folder")
    done = folder / _DONE
    if done.is_file() and done.read_text(encoding="utf-8") == url + "\n":
        return True
    if next(folder.iterdir(), None) is not None:
        raise InputError(f"{folder} is not empty: name a new folder")
    return False
