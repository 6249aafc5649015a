"""Model bundles in folders, as `beeagent export` writes them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from support.tiny_models import square_finder


def write_bundle(  # noqa: PLR0913 - what a bundle can differ in
    folder: Path,
    *,
    name: str = "tiny",
    size: tuple[int, int] = (64, 64),
    cells: tuple[int, int] | None = None,
    labels: Sequence[str] = ("bee",),
    fit: str = "letterbox",
) -> Path:
    """Write a bundle of a model that detects red squares, one in a cell of 16 pixels by default; return its folder."""
    files = {
        "model.tflite": square_finder(size=size, cells=cells or (size[0] // 16, size[1] // 16)),
        "labels.txt": "".join(f"{label}\n" for label in labels).encode(),
    }
    manifest = {
        "schema": "beeagent.bundle/1",
        "name": name,
        "version": "1",
        "licence": "Apache-2.0",
        "files": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
        "input": {"width": size[0], "height": size[1], "fit": fit},
        "labels": list(labels),
        "threshold": {"value": 0.5, "chosen_by": "hand"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder
