import hashlib
import json
import os
from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

from beeagent.detection import InputSpec, Manifest, ModelBundle, Threshold
from beeagent.errors import InputError
from beeagent_export.bundle import bundle_files, hashes, refuse_existing, write_bundle
from beeagent_export.conversion import Precision, convert_heads
from beeagent_export.heads import RawHeads
from beeagent_export.postprocess import PostProcessOptions, append_postprocess
from support.raw_heads import colour_heads

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def heads() -> RawHeads:
    return colour_heads(mean=127.0, std=128.0)


@pytest.fixture(scope="module")
def files(heads: RawHeads) -> dict[str, bytes]:
    converted = convert_heads(heads, precision=Precision.FLOAT32)
    return bundle_files(append_postprocess(converted, heads, PostProcessOptions()), heads.labels)


def manifest_for(heads: RawHeads, files: dict[str, bytes], *, version: str = "1") -> Manifest:
    return Manifest(
        name="colours",
        version=version,
        licence="NOASSERTION",
        files=hashes(files),
        input=InputSpec(width=heads.width, height=heads.height, fit=heads.fit, mean=heads.mean, std=heads.std),
        labels=list(heads.labels),
        threshold=Threshold(value=0.5, chosen_by="test"),
    )


def test_bundle_is_complete_and_vouched_for(heads: RawHeads, files: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "not" / "yet" / "there"
    write_bundle(out, manifest_for(heads, files), files, force=False)
    assert {path.name for path in out.iterdir()} == {"model.tflite", "labels.txt", "manifest.json"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["schema"] == "beeagent.bundle/1"
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert (out / "labels.txt").read_text() == "red\ngreen\nblue\n"
    assert ModelBundle.load(out).labels == ("red", "green", "blue")
    assert [path.name for path in out.parent.iterdir()] == ["there"]


def test_a_bundle_is_replaced_only_by_force(heads: RawHeads, files: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    write_bundle(out, manifest_for(heads, files), files, force=False)
    with pytest.raises(InputError, match=r"bundle .* exists: give another --out, or --force"):
        write_bundle(out, manifest_for(heads, files, version="2"), files, force=False)
    assert json.loads((out / "manifest.json").read_text())["version"] == "1"
    write_bundle(out, manifest_for(heads, files, version="2"), files, force=True)
    assert json.loads((out / "manifest.json").read_text())["version"] == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_folder_without_bundle_is_never_replaced(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
        (out / "diary.txt").write_text("dear")
    elif kind == "file":
        out.write_text("dear")
    else:
        out.symlink_to("nowhere")
    with pytest.raises(InputError, match="exists and is not a model bundle"):
        refuse_existing(out, force=True)
    assert os.path.lexists(out)


def test_a_model_that_the_agent_refuses_leaves_nothing(heads: RawHeads, tmp_path: Path) -> None:
    headless = bundle_files(convert_heads(heads, precision=Precision.FLOAT32), heads.labels)
    with pytest.raises(InputError, match="not a detection model"):
        write_bundle(tmp_path / "bundle", manifest_for(heads, headless), headless, force=False)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_model_leaves_the_old_bundle(heads: RawHeads, files: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    write_bundle(out, manifest_for(heads, files), files, force=False)
    broken = {**files, "model.tflite": files["model.tflite"][:1000]}
    with pytest.raises(InputError):
        write_bundle(out, manifest_for(heads, broken, version="2"), broken, force=True)
    assert json.loads((out / "manifest.json").read_text())["version"] == "1"
    assert (out / "model.tflite").read_bytes() == files["model.tflite"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_unwritable_target_is_reported(heads: RawHeads, files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written: "):
        write_bundle(tmp_path / "file" / "bundle", manifest_for(heads, files), files, force=False)
