"""Names of contenders, and folders of results as contenders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.comparison.contenders import Findings, Spec, jpeg_bytes, parse_spec, parse_specs
from beeagent_models.comparison.results_contender import ResultsSource
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.image_files import load_image
from hypothesis import given
from hypothesis import strategies as st
from support.compared import CAREFUL, answer, bees
from support.rekognition_server import PROJECT_VERSION_ARN


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("models/bees-lite0", Spec("bees-lite0", "models/bees-lite0")),
        ("models/bees-lite0/,tiles=2x2", Spec("bees-lite0 2x2", "models/bees-lite0/", "2x2")),
        ("small=x.tflite,labels=l.txt,tiles=auto", Spec("small", "x.tflite", "auto", Path("l.txt"))),
        ("ssd.tflite,labels=a=b.txt", Spec("ssd", "ssd.tflite", None, Path("a=b.txt"))),
        (PROJECT_VERSION_ARN, Spec("bees.2026-05-04T10.21.07", PROJECT_VERSION_ARN)),
        (f"cloud={PROJECT_VERSION_ARN}", Spec("cloud", PROJECT_VERSION_ARN)),
        ("arn:nonsense", Spec("arn:nonsense", "arn:nonsense")),
    ],
)
def test_a_contender_is_named(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


def test_a_path_with_an_equals_sign_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=b").mkdir()
    assert parse_spec("a=b") == Spec("a=b", "a=b")
    assert parse_spec("c=a=b") == Spec("c", "a=b")


@pytest.mark.parametrize("text", ["", "=", "a=", "=b", "a,tiles=", "a,tiles=2x2,tiles=3x3"])
def test_unknown_contender_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="give "):
        parse_spec(text)


@given(st.text())
def test_any_text_names_a_contender_or_is_refused(text: str) -> None:
    try:
        spec = parse_spec(text.replace("\0", ""))
    except InputError:
        return
    assert spec.name
    assert spec.location


def test_two_to_six_are_compared_and_each_has_its_name() -> None:
    assert [spec.name for spec in parse_specs(["a", "b=a"])] == ["a", "b"]
    with pytest.raises(InputError, match="1 contenders: give 2 to 6"):
        parse_specs(["a"])
    with pytest.raises(InputError, match="7 contenders"):
        parse_specs(list("abcdefg"))
    with pytest.raises(InputError, match="2 contenders have the name a: give other names"):
        parse_specs(["x/a", "y/a"])


def write(folder: Path, results: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in results.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def found_in(folder: Path, dataset: Dataset, *, allow_missing: bool = False) -> Findings:
    steps: list[int] = []
    source = ResultsSource(Spec("kept", str(folder)), dataset, allow_missing=allow_missing)
    findings = source.find(dataset, lambda: steps.append(1))
    assert len(steps) == len(dataset.images)
    return findings


def message(rows: Any, milliseconds: float | None = 12.5) -> dict[str, Any]:  # noqa: ANN401 - JSON
    labels = answer(rows)["CustomLabels"]
    return {
        "schema": "beeagent.detections/1",
        "frame": {"width": 1280, "height": 1280},
        "model": "bees-lite0@3f9c21d0",
        "detections": [
            {
                "label": label["Name"],
                "confidence": label["Confidence"] / 100,
                "box": {key.lower(): value for key, value in label["Geometry"]["BoundingBox"].items()},
            }
            for label in labels
        ],
        **({} if milliseconds is None else {"latency_ms": {"inference": milliseconds, "total": 20.0}}),
    }


def test_answers_are_read_by_either_name(tmp_path: Path) -> None:
    dataset = bees(tmp_path)
    names = ("a.json", "b.png.json", "c.png.json")
    results = {name: answer(rows) for name, rows in zip(names, CAREFUL, strict=True)}
    findings = found_in(write(tmp_path / "kept", results), dataset)
    assert (findings.kind, findings.in_cloud, findings.seconds) == ("answers", True, None)
    assert [found.confidences.tolist() for found in findings.detections] == [
        pytest.approx([0.9, 0.8]),
        pytest.approx([0.9]),
        pytest.approx([0.3]),
    ]
    assert findings.detections[0].boxes[1].tolist() == pytest.approx([0.6, 0.6, 0.8, 0.8])
    # What a cloud model needs sent is the image.
    assert findings.sent.tolist() == [jpeg_bytes(load_image(image)) for image in dataset.images]


def test_the_image_s_whole_name_comes_first(tmp_path: Path) -> None:
    results = {f"{name}.png.json": answer(rows) for name, rows in zip("abc", CAREFUL, strict=True)}
    findings = found_in(write(tmp_path / "kept", {**results, "a.json": answer(())}), bees(tmp_path))
    assert len(findings.detections[0]) == 2


def test_messages_have_size_and_time(tmp_path: Path) -> None:
    dataset = bees(tmp_path)
    results = {f"{name}.json": message(rows) for name, rows in zip("abc", CAREFUL, strict=True)}
    folder = write(tmp_path / "kept", results)
    findings = found_in(folder, dataset)
    assert (findings.kind, findings.in_cloud) == ("messages", False)
    assert findings.sent.tolist() == [(folder / f"{name}.json").stat().st_size for name in "abc"]
    assert findings.seconds is not None
    assert findings.seconds.tolist() == [0.0125] * 3
    write(folder, {"b.json": message(CAREFUL[1], milliseconds=None)})
    assert found_in(folder, dataset).seconds is None


def test_messages_are_matched_by_the_source_that_they_name(tmp_path: Path) -> None:
    dataset = bees(tmp_path)
    lines = [
        json.dumps({**message(rows), "source": {"name": f"{name}.png"}})
        for name, rows in zip("cba", reversed(CAREFUL), strict=True)
    ]
    video = json.dumps({**message(()), "source": {"name": "a.png", "position_s": 1.0}})
    folder = write(tmp_path / "kept", {"run.jsonl": "\n".join([video, "", "no JSON", *lines]), "notes.json": "{}"})
    findings = found_in(folder, dataset)
    assert [len(found) for found in findings.detections] == [len(rows) for rows in CAREFUL]
    assert findings.sent.tolist() == [len(line) for line in reversed(lines)]


def test_source_with_folder_selects_the_image_in_that_folder(tmp_path: Path) -> None:
    for night in ("one", "two"):
        (tmp_path / night).mkdir()
    one, two = bees(tmp_path / "one"), bees(tmp_path / "two")
    dataset = Dataset("both", (*one.images, *two.images), ("bee",))
    lines = [
        json.dumps({**message(CAREFUL[0] if night == "two" else ()), "source": {"name": f"{night}/{name}.png"}})
        for night in ("two", "one")
        for name in "abc"
    ]
    findings = found_in(write(tmp_path / "kept", {"run.jsonl": "\n".join(lines)}), dataset)
    assert [len(found) for found in findings.detections] == [0, 0, 0, 2, 2, 2]


def test_result_of_another_source_is_refused(tmp_path: Path) -> None:
    results = {f"{name}.json": {**message(()), "source": {"name": "c.png"}} for name in "abc"}
    with pytest.raises(InputError, match=r"a\.json is of c\.png, not of .*a\.png"):
        found_in(write(tmp_path / "kept", results), bees(tmp_path))


def test_two_results_of_one_source_are_refused(tmp_path: Path) -> None:
    lines = [json.dumps({**message(()), "source": {"name": f"{name}.png"}}) for name in "aabc"]
    folder = write(tmp_path / "kept", {"run.jsonl": "\n".join(lines)})
    with pytest.raises(InputError, match=r"a\.png has two results, .*run\.jsonl:1 and .*run\.jsonl:2: remove one"):
        found_in(folder, bees(tmp_path))


def test_boxes_without_label_have_the_only_class(tmp_path: Path) -> None:
    dataset = bees(tmp_path)
    box = {"left": 10, "top": 10, "width": 20, "height": 20, "confidence": 90}
    folder = write(tmp_path / "kept", {"a.json": [box], "b.json": [], "c.json": []})
    findings = found_in(folder, dataset)
    assert findings.detections[0].label(0) == "bee"
    two = Dataset("two", dataset.images, ("bee", "wasp"))
    with pytest.raises(InputError, match=r"a\.json: has boxes without a label, but two has the labels bee, wasp"):
        found_in(folder, two)


def test_nothing_found_anywhere_is_a_result(tmp_path: Path) -> None:
    folder = write(tmp_path / "kept", {f"{name}.json": answer(()) for name in "abc"})
    findings = found_in(folder, bees(tmp_path))
    assert [found.labels for found in findings.detections] == [("bee",)] * 3


def test_missing_results_are_named_and_counted(tmp_path: Path) -> None:
    dataset = bees(tmp_path)
    folder = write(tmp_path / "kept", {"b.json": answer(CAREFUL[1])})
    with pytest.raises(InputError, match=r"kept: no result for 2 of 3 images \(a\.png, c\.png\), .*--allow-missing"):
        found_in(folder, dataset)
    assert [len(found) for found in found_in(folder, dataset, allow_missing=True).detections] == [0, 1, 0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no result for 3 of 3 images .*c\.png\)") as caught:
        found_in(tmp_path / "empty", dataset, allow_missing=True)
    assert "--allow-missing" not in str(caught.value)


def test_one_result_is_not_taken_for_two_images(tmp_path: Path) -> None:
    dataset = bees(tmp_path)
    first = dataset.images[0]
    twin = LabelledImage(tmp_path / "other" / "a.jpg", first.width, first.height, first.boxes, first.class_ids)
    folder = write(tmp_path / "kept", {f"{name}.json": answer(()) for name in "abc"})
    with pytest.raises(InputError, match=r"a\.json would be the result of two images, .*a\.png and .*a\.jpg"):
        found_in(folder, Dataset("set", (*dataset.images, twin), ("bee",)))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", r"a\.json:1: no result: Invalid JSON"),
        ({"CustomLabels": 1}, r"a\.json:1: no response of Rekognition"),
        (
            {**message(()), "frame": {"width": 640, "height": 480}},
            r"a\.json is of a frame of 640x480: give the image",
        ),
        ({**message(()), "latency_ms": {"inference": -1}}, r"latency_ms\.inference"),
    ],
)
def test_error_names_an_invalid_result(tmp_path: Path, content: object, complaint: str) -> None:
    results = {"a.json": content, "b.json": answer(()), "c.json": answer(())}
    with pytest.raises(InputError, match=complaint) as caught:
        found_in(write(tmp_path / "kept", results), bees(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_large_image_is_sent_no_larger_than_the_agent_would() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (200, 2560, 3), np.uint8)
    assert jpeg_bytes(pixels) < jpeg_bytes(pixels[:, :1280])
