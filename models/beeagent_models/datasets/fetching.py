"""`beeagent dataset download`: an archive fetched, checked and unpacked."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from beeagent.errors import InputError

from beeagent_models.datasets.archive import check_sha256, unpack
from beeagent_models.datasets.download import download

ARTICLE_URL = "https://tf2-object-detection.s3-eu-west-1.amazonaws.com/data/bees/input/dataset.zip"
"""The 500 photographs of the reference article with their Ground Truth manifest (label attribute `bees-500`), CC0."""

_BEGUN = ".download"
"""Ending of the folder beside, where a download grows until it is whole."""

_UNPACKED = "unpacked"
_DONE = ".downloaded-from"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def fetch_dataset(  # noqa: PLR0913 - each a choice of its own
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
        wait: waits for so many seconds.
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
    try:
        begun.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {begun} cannot be made: {error.strerror}") from None
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
    """Say whether it is all there; refuse a folder with anything else in it."""
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
