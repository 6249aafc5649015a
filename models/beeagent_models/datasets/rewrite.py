"""Moves a manifest to another bucket: its images' addresses are rewritten, all else in it stays."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from beeagent.errors import InputError

from beeagent_models.datasets.atomic_write import atomic_write
from beeagent_models.datasets.ground_truth import manifest_lines, only_attribute, parse_row
from beeagent_models.datasets.image_files import check_bucket, reference_path, s3_reference
from beeagent_models.datasets.sqlite_index import first_seen


def rewrite_manifest(  # noqa: PLR0913 - each a choice of its own
    manifest: Path,
    *,
    out: Path,
    bucket: str,
    prefix: str = "",
    replaces: str | None = None,
    attribute: str | None = None,
    rename: str | None = None,
) -> int:
    """Write a manifest whose images lie in a bucket, in flat memory and in one step.

    An image's new key is the prefix and the image's name, or what follows `replaces` in its old address.
    All label attributes stay as they are, whatever they are called, but for one that is to be renamed.

    Args:
        manifest: the manifest to read.
        out: the manifest to write; may be the same file.
        bucket: its name.
        prefix: what the new keys begin with; may be empty.
        replaces: what the old addresses begin with, such as `s3://bucket/folder/`; what follows is kept.
        attribute: the label attribute to rename; by default the only one of type `groundtruth/object-detection`.
        rename: its new name; None leaves it.

    Returns:
        How many lines were written.

    Raises:
        InputError: the manifest or a name cannot be used, or two images would get the same address. Nothing is
            written then.
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
            # The same image twice in a manifest is no matter of its address: `check` finds it.
            if old.at(row["source-ref"], where) is None and (before := new.at(reference, where)) is not None:
                raise InputError(
                    f"{where}: {reference} would be another image than at {before}: keep more of the old "
                    "addresses, by saying which beginning of theirs is replaced"
                )
            row["source-ref"] = reference
            if rename is not None:
                row = _renamed(row, attribute or only_attribute(row, where), rename, where)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
        if not count:
            raise InputError(f"{manifest}: it has no line")
    return count


def _name(reference: str, replaces: str | None, where: str) -> str:
    if replaces is None:
        name = PurePosixPath(reference_path(reference)).name
    elif reference.startswith(replaces):
        name = reference[len(replaces) :].lstrip("/")
    else:
        raise InputError(f"{where}: {reference} does not begin with {replaces}")
    if not name:
        raise InputError(f"{where}: {reference} leaves no name for the image")
    return name


def _renamed(row: dict[str, Any], attribute: str, rename: str, where: str) -> dict[str, Any]:
    new = {attribute: rename, f"{attribute}-metadata": f"{rename}-metadata"}
    if attribute not in row:
        raise InputError(f"{where}: has no label attribute {attribute}")
    names = [new.get(key, key) for key in row]
    if len(set(names)) != len(names):
        raise InputError(f"{where}: has a label attribute {rename} already")
    return dict(zip(names, row.values(), strict=True))
