"""Rewrites the image references of a manifest for another bucket."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from beeagent.errors import InputError

from beeagent_models.datasets.atomic_write import atomic_write
from beeagent_models.datasets.ground_truth import manifest_lines, only_attribute, parse_row
from beeagent_models.datasets.image_files import check_bucket, reference_path, s3_reference
from beeagent_models.datasets.sqlite_index import first_seen


def rewrite_manifest(  # noqa: PLR0913
    manifest: Path,
    *,
    out: Path,
    bucket: str,
    prefix: str = "",
    replaces: str | None = None,
    attribute: str | None = None,
    rename: str | None = None,
) -> int:
    """Write a manifest with references to a bucket, atomically and with constant memory.

    The new key of an image is the prefix and the image's name, or the part of the old reference after `replaces`. Label
    attributes stay the same, except for a renamed one.

    Args:
        manifest: manifest to read.
        out: manifest to write; may be the same file.
        bucket: name of the bucket.
        prefix: prefix of the new keys; may be empty.
        replaces: prefix of the old references that is replaced, such as `s3://bucket/folder/`.
        attribute: label attribute to rename; by default the only one of type `groundtruth/object-detection`.
        rename: new name of the label attribute; None to keep it.

    Returns:
        The number of lines written.

    Raises:
        InputError: the manifest or a name cannot be used, or two images would have the same key. Nothing is written.
    """
    check_bucket(bucket)
    if attribute is not None and rename is None:
        raise InputError(f"the label attribute {attribute} cannot be renamed without a new name")
    count = 0
    with first_seen() as old, first_seen() as new, atomic_write(out) as file:
        for where, text in manifest_lines(manifest):
            row = parse_row(text, where=where)
            name = _name(row["source-ref"], replaces, where)
            reference = s3_reference(bucket=bucket, prefix=prefix, name=name)
            # An image that is listed twice is not a conflict of keys; `check` reports it.
            if old.at(row["source-ref"], where) is None and (before := new.at(reference, where)) is not None:
                raise InputError(
                    f"{where}: {reference} would have the same key as another image at {before}: give the prefix of "
                    "the old references to replace, so that the rest is kept"
                )
            row["source-ref"] = reference
            if rename is not None:
                row = _renamed(row, attribute or only_attribute(row, where), rename, where)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
        if not count:
            raise InputError(f"{manifest}: the manifest is empty")
    return count


def _name(reference: str, replaces: str | None, where: str) -> str:
    if replaces is None:
        name = PurePosixPath(reference_path(reference)).name
    elif reference.startswith(replaces):
        name = reference[len(replaces) :].lstrip("/")
    else:
        raise InputError(f"{where}: {reference} does not begin with {replaces}")
    if not name:
        raise InputError(f"{where}: {reference} has no image name")
    return name


def _renamed(row: dict[str, Any], attribute: str, rename: str, where: str) -> dict[str, Any]:
    new = {attribute: rename, f"{attribute}-metadata": f"{rename}-metadata"}
    if attribute not in row:
        raise InputError(f"{where}: has no label attribute {attribute}")
    names = [new.get(key, key) for key in row]
    if len(set(names)) != len(names):
        raise InputError(f"{where}: has a label attribute {rename} already")
    return dict(zip(names, row.values(), strict=True))
