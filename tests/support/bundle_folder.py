"""Model bundles in folders, as `beeagent export` writes them."""

import hashlib
import json
from pathlib import Path

from support.tiny_models import square_finder


def write_bundle(folder: Path, *, size: tuple[int, int], name: str) -> Path:
    """Write a bundle of a model that detects red squares."""
    files = {"model.tflite": square_finder(size=size, cells=(size[0] // 16, size[1] // 16)), "labels.txt": b"bee\n"}
    manifest = {
        "schema": "beeagent.bundle/1",
        "name": name,
        "version": "1",
        "licence": "Apache-2.0",
        "files": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
        "input": {"width": size[0], "height": size[1], "fit": "letterbox"},
        "labels": ["bee"],
        "threshold": {"value": 0.5, "chosen_by": "hand"},
    }
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder
