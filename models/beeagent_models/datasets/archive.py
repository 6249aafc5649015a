"""Checks a zip file, and unpacks it so that nothing lands outside of its folder."""

import hashlib
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from beeagent.errors import InputError

_CHUNK = 1 << 20

_MOST_BYTES = 50 * 1024**3
"""What a data set may have unpacked; a zip that claims more is a trap or a mistake."""


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
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected.lower():
        raise InputError(f"{file} has the SHA-256 {digest.hexdigest()}, not {expected.lower()}: it is another file")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip into a folder, and check each file against its checksum.

    Args:
        archive: the zip.
        folder: made anew; what an earlier try left there is removed first.

    Raises:
        InputError: it is no zip or a damaged one, has a file that would land outside of the folder, or the disk
            cannot take it. The folder is gone then.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as content:
            entries = content.infolist()
            _refuse_trap(entries, archive)
            folder.mkdir(parents=True)
            for entry in entries:
                content.extract(entry, folder)  # checks the CRC while it reads
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise InputError(f"{archive}: is no zip file, or a damaged one: {error}") from None
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise InputError(f"{folder} cannot be written: {error.strerror or error}") from None
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _refuse_trap(entries: list[zipfile.ZipInfo], archive: Path) -> None:
    if sum(entry.file_size for entry in entries) > _MOST_BYTES:
        raise InputError(f"{archive}: would unpack to more than {_MOST_BYTES} bytes")
    for entry in entries:
        # zipfile would leave out the dots and write a file of another name; better to say that something is wrong.
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(entry.external_attr >> 16):
            raise InputError(f"{archive}: has an entry that would land outside of its folder: {entry.filename}")
