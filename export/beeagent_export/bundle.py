"""Writes bundles and reports atomically, and checks in advance that they can be written."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from beeagent.detection import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, Detector, DetectorOptions, Manifest, ModelBundle
from beeagent.errors import InputError
from beeagent_models.datasets.atomic_write import atomic_write, make_folder


def refuse_unwritable(path: Path, *, what: str) -> None:
    """Refuse a path that cannot be created.

    Args:
        path: file or folder to create; parent folders may be missing.
        what: name of the thing in the error.

    Raises:
        InputError: the nearest existing parent is not a folder, or not writable.
    """
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise InputError(f"the {what} {path} cannot be written: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"the {what} {path} cannot be written: no permission for {parent}")


@contextmanager
def atomic_files(files: dict[Path, str]) -> Iterator[None]:
    """Write text files that appear under their names only if the block succeeds.

    Raises:
        InputError: a file cannot be written.
    """
    with ExitStack() as stack:
        for path, text in files.items():
            make_folder(path.parent)
            file = stack.enter_context(atomic_write(path))
            file.write(text)
            file.flush()
        yield


def as_json(report: dict[str, object]) -> str:
    """Return a report as JSON text."""
    return json.dumps(report, indent=2) + "\n"


def refuse_existing(out: Path, *, force: bool) -> None:
    """Refuse to replace an existing bundle without `force`, or anything that is not a bundle.

    Raises:
        InputError: the output must not be replaced.
    """
    if not out.name:
        raise InputError(f"{out} is not a valid bundle folder: give a folder that does not exist yet")
    if not os.path.lexists(out):
        return
    if not out.is_dir() or out.is_symlink() or not (out / MANIFEST_FILE).is_file():
        raise InputError(f"{out} exists and is not a model bundle: give another --out")
    if not force:
        raise InputError(f"the bundle {out} exists: give another --out, or --force to replace it")


def bundle_files(model: bytes, labels: tuple[str, ...]) -> dict[str, bytes]:
    """Return the content of a bundle's files by name, without the manifest."""
    return {MODEL_FILE: model, LABELS_FILE: "".join(f"{label}\n" for label in labels).encode()}


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file, in hexadecimal, as in a manifest."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def write_bundle(out: Path, manifest: Manifest, files: dict[str, bytes], *, force: bool) -> None:
    """Write a bundle to a temporary folder, load and run it as the device does, then move it into place.

    Args:
        out: folder of the bundle. Missing parents are created.
        manifest: the manifest, with the hashes of the files.
        files: content of the other files by name.
        force: replace an existing bundle; it stays in place until the new one is complete.

    Raises:
        InputError: the folder exists or cannot be written, or the agent does not accept the bundle.
    """
    refuse_existing(out, force=force)
    text = manifest.model_dump_json(by_alias=True, indent=2) + "\n"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            for name, content in {**files, MANIFEST_FILE: text.encode()}.items():
                _write(new / name, content)
            Detector(ModelBundle.load(new), DetectorOptions(threads=1))
            _replace(out, new, aside=Path(temporary) / "old")
    except OSError as error:
        raise InputError(f"the bundle {out} cannot be written: {error.strerror or error}") from error


def _replace(out: Path, new: Path, *, aside: Path) -> None:
    """Replace a folder by another; the old one is moved to `aside`, and back on failure."""
    exists = os.path.lexists(out)
    if exists:
        out.rename(aside)
    try:
        new.rename(out)
    except OSError:
        if exists:
            aside.rename(out)
        raise


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
