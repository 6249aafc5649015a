"""Verification of model bundles, and errors for invalid ones."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from beeagent.detection import Fit, Manifest, ModelBundle
from beeagent.errors import InputError
from hypothesis import example, given, settings
from hypothesis import strategies as st

MODEL = b"\x1c\x00\x00\x00TFL3 what a model holds does not matter here"
LABELS = "bee\nwasp\n"

Json = dict[str, Any]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def manifest_json() -> Json:
    return {
        "schema": "beeagent.bundle/1",
        "name": "bees-test",
        "version": "1.2.3",
        "licence": "Apache-2.0",
        "files": {"model.tflite": sha256(MODEL), "labels.txt": sha256(LABELS.encode())},
        "input": {"width": 320, "height": 256, "fit": "letterbox", "mean": 127.0, "std": 128.0},
        "labels": ["bee", "wasp"],
        "threshold": {"value": 0.35, "chosen_by": "the best F1 on the validation set"},
        "metrics": [
            {
                "dataset": "ramp",
                "split": "val",
                "ap": 0.5,
                "ap50": 0.8,
                "precision": 0.9,
                "recall": 0.7,
                "threshold": 0.35,
            }
        ],
        "provenance": {"seed": 1, "command": ["beeagent", "train"]},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "model.tflite").write_bytes(MODEL)
    (bundle / "labels.txt").write_text(LABELS, encoding="utf-8")
    write_manifest(bundle, manifest_json())
    return bundle


def write_manifest(bundle: Path, content: Json) -> None:
    (bundle / "manifest.json").write_text(json.dumps(content), encoding="utf-8")


def refusal(path: Path, *, labels: Path | None = None) -> str:
    """Return the error, one line, with which a model is refused."""
    with pytest.raises(InputError) as caught:
        ModelBundle.load(path, labels=labels)
    message = str(caught.value)
    assert message
    assert message.isprintable(), f"not one clear line: {message!r}"
    return message


def test_a_bundle_is_loaded_with_its_manifest(folder: Path) -> None:
    bundle = ModelBundle.load(folder)
    assert bundle.model == MODEL
    assert bundle.labels == ("bee", "wasp")
    assert bundle.name == "bees-test"
    assert bundle.sha256 == sha256(MODEL)
    assert bundle.identity == f"bees-test@{sha256(MODEL)[:8]}"
    assert bundle.threshold == 0.35
    assert bundle.input is not None
    assert (bundle.input.width, bundle.input.height, bundle.input.fit) == (320, 256, Fit.LETTERBOX)
    assert (bundle.input.mean, bundle.input.std) == (127.0, 128.0)
    assert bundle.manifest is not None
    assert bundle.manifest.metrics[0].ap50 == 0.8
    assert bundle.manifest.provenance == {"seed": 1, "command": ["beeagent", "train"]}


def test_byte_order_mark_before_the_manifest_is_ignored(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert ModelBundle.load(folder).name == "bees-test"


@given(
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
    labels=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=5),
    threshold=st.floats(0, 1),
    mean=st.floats(-300, 300),
    std=st.floats(1e-3, 300),
    fit=st.sampled_from(list(Fit)),
    size=st.tuples(st.integers(1, 8192), st.integers(1, 8192)),
)
def test_a_manifest_survives_being_written_and_read(  # noqa: PLR0913 - all that varies
    *, name: str, labels: list[str], threshold: float, mean: float, std: float, fit: Fit, size: tuple[int, int]
) -> None:
    manifest = Manifest.model_validate(
        manifest_json()
        | {
            "name": name,
            "labels": labels,
            "threshold": {"value": threshold, "chosen_by": "hand"},
            "input": {"width": size[0], "height": size[1], "fit": fit.value, "mean": mean, "std": std},
        }
    )
    assert Manifest.model_validate_json(manifest.model_dump_json(by_alias=True)) == manifest
    assert json.loads(manifest.model_dump_json(by_alias=True))["schema"] == "beeagent.bundle/1"


@pytest.mark.parametrize("file", ["model.tflite", "labels.txt"])
def test_a_file_that_differs_from_its_hash_is_refused(folder: Path, file: str) -> None:
    content = bytearray((folder / file).read_bytes())
    content[-1] ^= 1
    (folder / file).write_bytes(content)
    assert f"{folder / file} does not match its manifest" in refusal(folder)


def test_further_files_of_the_bundle_are_checked_too(folder: Path) -> None:
    manifest = manifest_json()
    manifest["files"]["README.md"] = sha256(b"the model card")
    write_manifest(folder, manifest)
    assert str(folder / "README.md") in refusal(folder)
    (folder / "README.md").write_bytes(b"another model card")
    assert f"{folder / 'README.md'} does not match" in refusal(folder)
    (folder / "README.md").write_bytes(b"the model card")
    assert ModelBundle.load(folder).name == "bees-test"


@pytest.mark.parametrize("file", ["model.tflite", "labels.txt", "manifest.json"])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    message = refusal(folder)
    assert str(folder / file) in message
    assert "No such file" in message


@pytest.mark.parametrize("file", ["model.tflite", "labels.txt"])
def test_a_file_without_a_hash_in_the_manifest_is_refused(folder: Path, file: str) -> None:
    manifest = manifest_json()
    del manifest["files"][file]
    write_manifest(folder, manifest)
    assert f"no SHA-256 of {file}" in refusal(folder)


@pytest.mark.parametrize(
    "file", ["../outside.txt", "/etc/hostname", "sub/file.txt", "..", ".", "", "a\x00b", "../bundle/model.tflite"]
)
def test_only_files_in_the_bundle_itself_are_read(folder: Path, file: str) -> None:
    (folder.parent / "outside.txt").write_bytes(b"outside")
    (folder / "sub").mkdir()
    (folder / "sub" / "file.txt").write_bytes(b"outside")
    manifest = manifest_json()
    manifest["files"][file] = sha256(b"outside")
    write_manifest(folder, manifest)
    assert repr(file) in refusal(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m.update(colour="red"), "colour"),
        (lambda m: m["input"].update(depth=3), "input.depth"),
        (lambda m: m.update({"two\nlines": 1}), "two"),
        (lambda m: m.update(schema="beeagent.bundle/2"), "schema"),
        (lambda m: m.update(name="no spaces please"), "name"),
        (lambda m: m.update(name=""), "name"),
        (lambda m: m.update(labels=[]), "labels"),
        (lambda m: m.update(labels="bee"), "labels"),
        (lambda m: m.pop("threshold"), "threshold"),
        (lambda m: m["threshold"].update(value=1.5), "threshold.value"),
        (lambda m: m["threshold"].update(value=math.nan), "threshold.value"),
        (lambda m: m["input"].update(width=0), "input.width"),
        (lambda m: m["input"].update(height=100_000), "input.height"),
        (lambda m: m["input"].update(fit="crop"), "input.fit"),
        (lambda m: m["input"].update(std=0), "input.std"),
        (lambda m: m["input"].update(std=math.inf), "input.std"),
        (lambda m: m["input"].update(std=math.nan), "input.std"),
        (lambda m: m["input"].update(mean=math.nan), "input.mean"),
        (lambda m: m["input"].update(mean=math.inf), "input.mean"),
        (lambda m: m["files"].update({"model.tflite": "ABC"}), "files.model.tflite"),
        (lambda m: m["metrics"][0].update(recall=-0.1), "metrics.0.recall"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_by_key(folder: Path, change: Callable[[Json], object], named: str) -> None:
    manifest = manifest_json()
    change(manifest)
    write_manifest(folder, manifest)
    message = refusal(folder)
    assert str(folder / "manifest.json") in message
    assert named in message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"name": "a"', b"[" * 5000])
def test_a_manifest_that_is_not_a_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    assert str(folder / "manifest.json") in refusal(folder)


def test_labels_that_differ_from_the_manifest_are_refused(folder: Path) -> None:
    manifest = manifest_json()
    manifest["labels"] = ["wasp", "bee"]
    write_manifest(folder, manifest)
    message = refusal(folder)
    assert "labels" in message
    assert "differ" in message


def test_a_bundle_with_other_labels_is_refused(folder: Path) -> None:
    message = refusal(folder, labels=folder / "labels.txt")
    assert str(folder) in message


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "no-model") in refusal(tmp_path / "no-model")
    assert "No such file" in refusal(tmp_path / "no-model")


def test_a_path_with_control_characters_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "two" in refusal(tmp_path / "two\nlines.tflite")
    assert "nul" in refusal(tmp_path / "nul\x00.tflite")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    loop = tmp_path / "loop.tflite"
    loop.symlink_to(loop)
    assert str(loop) in refusal(loop)


def test_a_bare_model_has_its_labels_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "my model (v2).tflite").write_bytes(MODEL)
    (tmp_path / "names.txt").write_text("bee\n", encoding="utf-8")
    bundle = ModelBundle.load(tmp_path / "my model (v2).tflite", labels=tmp_path / "names.txt")
    assert bundle.labels == ("bee",)
    assert bundle.model == MODEL
    assert bundle.identity == f"my-model--v2-@{sha256(MODEL)[:8]}"
    assert bundle.manifest is None
    assert bundle.input is None
    assert bundle.threshold == 0.5


def test_a_bare_model_without_labels_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(MODEL)
    assert "--labels" in refusal(tmp_path / "m.tflite")


def test_a_labels_file_that_is_missing_or_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(MODEL)
    assert str(tmp_path / "none.txt") in refusal(tmp_path / "m.tflite", labels=tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes("abeille mellifère".encode("latin-1"))
    assert "UTF-8" in refusal(tmp_path / "m.tflite", labels=tmp_path / "latin.txt")
    assert str(tmp_path) in refusal(tmp_path / "m.tflite", labels=tmp_path)


# Whatever a manifest holds, the answer is a bundle or one line.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged_manifests(draw: st.DrawFn) -> bytes:
    """Change, add or remove a value anywhere in a good manifest, or cut or change its text."""
    manifest = manifest_json()
    table: Any = manifest
    while True:
        keys = list(table) if isinstance(table, dict) else list(range(len(table)))
        key = draw(st.sampled_from(keys)) if keys else None
        if key is None or not isinstance(table[key], dict | list) or draw(st.booleans()):
            break
        table = table[key]
    kind = draw(st.sampled_from(["change", "add", "remove", "cut", "byte"]))
    if kind == "change" and key is not None:
        table[key] = draw(json_values)
    elif kind == "add" and isinstance(table, dict):
        table[draw(st.text(max_size=8))] = draw(json_values)
    elif kind == "remove" and key is not None:
        del table[key]
    text = json.dumps(manifest).encode()
    place = draw(st.integers(0, len(text) - 1))
    if kind == "cut":
        return text[:place]
    if kind == "byte":
        return text[:place] + draw(st.binary(min_size=1, max_size=1)) + text[place + 1 :]
    return text


@settings(max_examples=150)
@given(content=st.binary(max_size=60) | damaged_manifests())
@example(content=b'{"\\ud800": 1}')
def test_any_manifest_is_loaded_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-manifest"
    folder.mkdir(exist_ok=True)
    (folder / "model.tflite").write_bytes(MODEL)
    (folder / "labels.txt").write_text(LABELS, encoding="utf-8")
    (folder / "manifest.json").write_bytes(content)
    try:
        bundle = ModelBundle.load(folder)
    except InputError as error:
        message = str(error)
        assert message.isprintable()
    else:
        assert isinstance(bundle, ModelBundle)
        assert bundle.sha256 == sha256(bundle.model)
