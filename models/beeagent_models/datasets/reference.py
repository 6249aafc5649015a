"""The addresses of pictures in manifests: `s3://bucket/key`, or a path."""

import re
from pathlib import Path, PurePosixPath

from beeagent.errors import InputError

_SCHEME = "s3://"

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, general purpose buckets.
_BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")

_LONGEST_KEY = 1024
"""Bytes of UTF-8 (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)."""


def is_s3(reference: str) -> bool:
    """Say whether a reference is an address in S3."""
    return reference.startswith(_SCHEME)


def reference_path(reference: str) -> str:
    """Give the key of an address in S3, or the path that the reference is.

    Nothing in a key is special: `#`, `?` and `%` belong to the name.
    """
    return reference[len(_SCHEME) :].partition("/")[2] if is_s3(reference) else reference


def is_picture_file(path: Path) -> bool:
    """Say whether there is a file; a name that no file can have, or a folder that is closed to us, has none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def find_picture(source_ref: str, *, beside: Path, where: str) -> Path:
    """Find the local copy of the picture that a manifest names: a path relative to the manifest, or a key in a bucket.

    Raises:
        InputError: there is none.
    """
    path = reference_path(source_ref)
    if Path(path).is_absolute() and not is_s3(source_ref):
        candidates = [Path(path)]
    else:
        parts = [part for part in PurePosixPath(path).parts if part not in {"/", ".."}]
        candidates = [beside.joinpath(*parts[start:]) for start in range(len(parts))]
        candidates += [beside / "images" / part for part in parts[-1:]]
        if not is_s3(source_ref):
            # A path is believed as it stands, `..` included; a key in a bucket cannot lead out of the folder.
            candidates = list(dict.fromkeys([beside / path, *candidates]))
    for candidate in candidates:
        if is_picture_file(candidate):
            return candidate
    looked = ", ".join(map(str, candidates))
    raise InputError(f"{where}: the picture {source_ref} is not there: looked for {looked}")


def s3_reference(*, bucket: str, prefix: str, name: str) -> str:
    """Put an address together.

    Args:
        bucket: checked with `check_bucket` before.
        prefix: what the key begins with; slashes at its ends make no difference. May be empty.
        name: the rest of the key.

    Raises:
        InputError: the key is longer than S3 allows.
    """
    key = str(PurePosixPath(prefix.strip("/")) / name.lstrip("/")) if prefix.strip("/") else name.lstrip("/")
    if len(key.encode("utf-8", "surrogatepass")) > _LONGEST_KEY:
        raise InputError(f"the key {key} is longer than the {_LONGEST_KEY} bytes that S3 allows; shorten the prefix")
    return f"{_SCHEME}{bucket}/{key}"


def check_bucket(bucket: str) -> None:
    """Refuse what S3 refuses as a bucket's name.

    Raises:
        InputError: it is none.
    """
    if not _BUCKET.fullmatch(bucket):
        raise InputError(
            f"the bucket is '{bucket}': a name has 3 to 63 of a-z, 0-9, dots and dashes, and no s3:// before it"
        )
