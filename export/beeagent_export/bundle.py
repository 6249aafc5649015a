"""Writes bundles and reports: checks first whether they can be written, and writes them atomically."""

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
    """Refuse a place below which nothing can be made.

    Args:
        path: of the file or folder to be made; folders above it may be missing.
        what: to call it in the error.

    Raises:
        InputError: the nearest folder above it that exists is no folder, or not ours to write to.
    """
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise InputError(f"the {what} {path} cannot be written: {above} is not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"the {what} {path} cannot be written: no permission for {above}")


@contextmanager
def written(files: dict[Path, str]) -> Iterator[None]:
    """Write text files that replace their predecessors once the block has succeeded.

    Raises:
        InputError: one cannot be written.
    """
    with ExitStack() as stack:
        for path, text in files.items():
            make_folder(path.parent)
            file = stack.enter_context(atomic_write(path))
            file.write(text)
            file.flush()
        yield


def as_json(report: dict[str, object]) -> str:
    """Return a report as the text of a file."""
    return json.dumps(report, indent=2) + "\n"


def refuse_existing(out: Path, *, force: bool) -> None:
    """Refuse an output that may not be replaced.

    Raises:
        InputError: there is a bundle and `force` is not given, or something that is no bundle.
    """
    if not out.name:
        raise InputError(f"{out} is not a name for a bundle: give a folder that does not exist yet")
    if not os.path.lexists(out):
        return
    if not out.is_dir() or out.is_symlink() or not (out / MANIFEST_FILE).is_file():
        raise InputError(f"{out} exists and is not a model bundle: give another --out")
    if not force:
        raise InputError(f"the bundle {out} exists: give another --out, or --force to replace it")


def bundle_files(model: bytes, labels: tuple[str, ...]) -> dict[str, bytes]:
    """Return the content of a bundle's files, except its manifest, by name."""
    return {MODEL_FILE: model, LABELS_FILE: "".join(f"{label}\n" for label in labels).encode()}


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file, in hexadecimal, as in a manifest."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def write_bundle(out: Path, manifest: Manifest, files: dict[str, bytes], *, force: bool) -> None:
    """Write a bundle beside its place, load and run it as the device does, and only then move it there.

    Args:
        out: the bundle's folder. Folders above it are made.
        manifest: with the hashes of the files.
        files: the other files' content by name.
        force: replace a bundle that is there; it stays until the new one takes its place.

    Raises:
        InputError: the place is taken or cannot be written, or the bundle is not one that the agent accepts.
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
    """Put a folder in the place of another, which is moved aside, and back if that fails."""
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
