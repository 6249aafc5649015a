import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from beeagent.detection import Detector, DetectorOptions, ModelBundle
from beeagent.errors import InputError
from beeagent_models import cli
from beeagent_models.datasets.reading import read_dataset
from support import tiny_models
from support.beeagent_process import run_beeagent, tiny_model
from support.numbered_frames import number_in, write_video
from support.range_server import range_server
from typer.testing import CliRunner, Result

SIDE = 64


def beeagent(*arguments: str | Path) -> Result:
    """Run a command as the device's command line mounts it; a user's mistake comes out as its InputError."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    for name in ("train", "evaluate", "compare", "show"):
        app.command(name)(getattr(cli, name))
    app.add_typer(cli.dataset, name="dataset")
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


def succeeding(*arguments: str | Path) -> str:
    result = beeagent(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a real TFLite model that detects red areas exactly, with labels.txt in its folder."""
    (tmp_path / "labels.txt").write_text("bee\ngreen\nblue\n")
    (tmp_path / "red.tflite").write_bytes(
        tiny_models.edge_finder(size=SIDE, names={kind: kind for kind in tiny_models.OUTPUTS})
    )
    return tmp_path / "red.tflite"


@pytest.fixture
def garden(tmp_path: Path) -> Path:
    """Return a YOLO folder with a detectable bee, and a missed bee with a weaker false alarm elsewhere."""
    for folder in ("images", "labels"):
        (tmp_path / "garden" / folder).mkdir(parents=True)
    for name, box, strength, row in (
        ("a", (16, 16, 48, 48), 255, "0 0.5 0.5 0.5 0.5"),
        ("b", (0, 0, 16, 16), 204, "0 0.75 0.75 0.25 0.25"),
    ):
        pixels = np.full((SIDE, SIDE, 3), 40, np.uint8)
        left, top, right, bottom = box
        pixels[top:bottom, left:right] = (0, 0, strength)
        assert cv2.imwrite(str(tmp_path / "garden" / "images" / f"{name}.png"), pixels)
        (tmp_path / "garden" / "labels" / f"{name}.txt").write_text(row)
    return tmp_path / "garden"


def test_evaluate_prints_the_figures_as_json(model: Path, garden: Path) -> None:
    labels = model.parent / "labels.txt"
    result = json.loads(succeeding("evaluate", model, f"{garden}=bee", "--labels", labels, "--json", "--threads", "1"))
    (figures,) = result["datasets"]
    assert figures["ap50"] == pytest.approx(51 / 101)
    assert (figures["precision"], figures["recall"]) == (1, 0.5)
    assert figures["threshold_chosen_by"] == "best F1, on garden"
    assert result["model"].startswith("red@")
    assert result["input"] == {"width": SIDE, "height": SIDE}
    assert result["threads"] == 1


@pytest.fixture
def adjusted(garden: Path) -> Path:
    """Return a manifest of an adjustment job, whose second label attribute has the right box."""
    line: dict[str, object] = {"source-ref": "images/a.png"}
    for attribute, left in (("bees", 0), ("bees-adjusted", 16)):
        box = {"class_id": 0, "left": left, "top": 16, "width": 32, "height": 32}
        line[attribute] = {"image_size": [{"width": SIDE, "height": SIDE}], "annotations": [box]}
        line[f"{attribute}-metadata"] = {"class-map": {"0": "bee"}, "type": "groundtruth/object-detection"}
    (garden / "output.manifest").write_text(json.dumps(line))
    return garden / "output.manifest"


@pytest.mark.parametrize(("attribute", "recall"), [("bees", 0), ("bees-adjusted", 1)])
def test_evaluate_and_compare_read_the_attribute_that_is_named(
    model: Path, adjusted: Path, attribute: str, recall: float
) -> None:
    options = ("--json", "--attribute", attribute)
    labels = ("--labels", model.parent / "labels.txt", "--threshold", "0.5")
    figures = json.loads(succeeding("evaluate", model, adjusted, *labels, *options))
    assert figures["datasets"][0]["recall"] == recall
    contender = f"{model},labels={model.parent / 'labels.txt'}"
    compared = json.loads(succeeding("compare", adjusted, f"one={contender}", f"two={contender}", *options))
    assert [one["ap50"] for one in compared["models"]] == pytest.approx([recall] * 2)


def test_error_about_several_attributes_names_the_option(model: Path, adjusted: Path) -> None:
    with pytest.raises(InputError, match=r"\(bees, bees-adjusted\); choose one with --attribute"):
        beeagent("evaluate", model, adjusted, "--labels", model.parent / "labels.txt")


@pytest.mark.parametrize(
    ("options", "precision", "chosen_by"),
    [
        (["--threshold", "0.5"], 0.5, "given"),
        (["--precision-floor", "0.9"], 1, "best recall with precision >= 0.9 on garden"),
        (["--recall-floor", "0.5"], 1, "best precision with recall >= 0.5, on garden"),
        (["--best-f1"], 1, "best F1, on garden"),
    ],
)
def test_evaluate_chooses_the_threshold_by_its_options(
    model: Path, garden: Path, options: list[str], precision: float, chosen_by: str
) -> None:
    labels = model.parent / "labels.txt"
    result = json.loads(succeeding("evaluate", model, f"{garden}=bee", "--labels", labels, "--json", *options))
    (figures,) = result["datasets"]
    assert figures["precision"] == precision
    assert figures["threshold_chosen_by"] == chosen_by


@pytest.fixture
def lawn(tmp_path: Path) -> Path:
    """Return a Ground Truth manifest of two images without a bee, one of them with something red."""
    lines = []
    for name, strength in (("red", 255), ("plain", 40)):
        pixels = np.full((SIDE, SIDE, 3), 40, np.uint8)
        pixels[8:40, 8:40] = (0 if strength > 40 else 40,) * 2 + (strength,)
        (tmp_path / "lawn").mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "lawn" / f"{name}.png"), pixels)
        label = {"image_size": [{"width": SIDE, "height": SIDE, "depth": 3}], "annotations": []}
        metadata = {
            "objects": [],
            "class-map": {"0": "bee"},
            "type": "groundtruth/object-detection",
            "human-annotated": "yes",
            "creation-date": "2026-05-04T00:00:00",
            "job-name": "bees",
        }
        lines.append(json.dumps({"source-ref": f"{name}.png", "bees": label, "bees-metadata": metadata}))
    (tmp_path / "lawn" / "output.manifest").write_text("\n".join(lines))
    return tmp_path / "lawn"


def test_evaluate_measures_datasets_separately_at_the_first_threshold(model: Path, garden: Path, lawn: Path) -> None:
    labels = model.parent / "labels.txt"
    result = json.loads(succeeding("evaluate", model, f"{garden}=bee", lawn, "--labels", labels, "--json"))
    first, second = result["datasets"]
    assert (first["dataset"], second["dataset"]) == ("garden", "lawn")
    assert first["ap50"] == pytest.approx(51 / 101)
    assert second["ap50"] is None
    assert first["threshold_chosen_by"] == second["threshold_chosen_by"] == "best F1, on garden"
    assert second["threshold"] == first["threshold"]
    assert first["false_alarms_per_image_without_boxes"] is None
    assert second["false_alarms_per_image_without_boxes"] == 0.5


def test_no_threshold_is_chosen_on_images_without_a_bee(model: Path, lawn: Path) -> None:
    labels = model.parent / "labels.txt"
    with pytest.raises(InputError, match="lawn: none of its 2 images has a box"):
        beeagent("evaluate", model, lawn, "--labels", labels, "--best-f1")
    assert "0.500" in succeeding("evaluate", model, lawn, "--labels", labels, "--threshold", "0.5")


def test_a_threshold_leaves_so_many_false_alarms_on_images_without_a_bee(model: Path, garden: Path, lawn: Path) -> None:
    arguments = ("evaluate", model, f"{garden}=bee", "--labels", model.parent / "labels.txt", "--json")
    first, second = json.loads(succeeding(*arguments, lawn, "--max-false-alarms", "0.5"))["datasets"]
    assert second["false_alarms_per_image_without_boxes"] == 0.5
    assert first["threshold_chosen_by"] == ("best recall with at most 0.5 false alarms per image without a box on lawn")
    with pytest.raises(InputError, match="--max-false-alarms needs images without a box"):
        beeagent(*arguments, "--max-false-alarms", "0.5")


def test_the_hardest_images_without_a_bee_are_shown(model: Path, garden: Path, lawn: Path, tmp_path: Path) -> None:
    labels, out = model.parent / "labels.txt", tmp_path / "alarms"
    succeeding("evaluate", model, f"{garden}=bee", lawn, "--labels", labels, "--false-alarms", out)
    (line,) = (out / "false-alarms.jsonl").read_text().splitlines()
    alarm = json.loads(line)
    assert (alarm["dataset"], Path(alarm["image"]).name, alarm["label"]) == ("lawn", "red.png", "bee")
    assert alarm["confidence"] == pytest.approx(1, abs=0.01)
    assert alarm["box"] == pytest.approx([8, 8, 40, 40], abs=0.1)
    sheet = cv2.imread(str(out / "false-alarms.jpg"))
    assert sheet is not None
    # The whole image, 64 px, is shown at 160 px, and red from 20 to 100 px of it.
    red = (sheet[..., 2].astype(int) - sheet[..., 0]) > 150
    assert red[4 + 30 : 4 + 90, 4 + 30 : 4 + 90].all()
    assert not red[4 + 110 : 4 + 160].any()


def test_without_images_without_a_bee_no_false_alarms_are_shown(model: Path, garden: Path, tmp_path: Path) -> None:
    labels = model.parent / "labels.txt"
    with pytest.raises(InputError, match="--false-alarms needs images without a box"):
        beeagent("evaluate", model, f"{garden}=bee", "--labels", labels, "--false-alarms", tmp_path / "alarms")
    assert not (tmp_path / "alarms").exists()


def test_evaluate_leaves_out_small_objects(model: Path, garden: Path) -> None:
    labels = model.parent / "labels.txt"
    arguments = ("evaluate", model, f"{garden}=bee", "--labels", labels, "--json", "--min-size", "20")
    (figures,) = json.loads(succeeding(*arguments))["datasets"]
    assert (figures["boxes"], figures["boxes_left_out"], figures["min_size"]) == (1, 1, 20)
    assert figures["ap50"] == pytest.approx(1)


def test_datasets_with_equal_names_are_distinguished(model: Path, garden: Path, tmp_path: Path) -> None:
    labels = model.parent / "labels.txt"
    other = tmp_path / "other" / "garden"
    other.parent.mkdir()
    shutil.copytree(garden, other)
    drawn = tmp_path / "drawn"
    arguments = ("evaluate", model, f"{garden}=bee", f"{other}=bee", "--labels", labels, "--json", "--pictures", drawn)
    result = json.loads(succeeding(*arguments))
    assert [figures["dataset"] for figures in result["datasets"]] == [str(garden), str(other)]
    assert [len(list(folder.iterdir())) for folder in drawn.iterdir()] == [2, 2]
    with pytest.raises(InputError, match="is given 2 times"):
        beeagent("evaluate", model, f"{garden}=bee", f"{garden}=bee", "--labels", labels)


def test_evaluate_prints_a_table_and_draws(model: Path, garden: Path, tmp_path: Path) -> None:
    printed = succeeding(
        "evaluate", model, f"{garden}=bee", "--labels", model.parent / "labels.txt", "--threshold", "0.5",
        "--plot", tmp_path / "curve.svg", "--pictures", tmp_path / "drawn",
    )  # fmt: skip
    assert "garden: by size in pixels of the model's input" in printed
    assert "50.5 %" in printed
    assert (tmp_path / "curve.svg").stat().st_size > 1000
    images = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert images == ["0-a.jpg", "1-b.jpg"]
    for name in images:
        assert cv2.imread(str(tmp_path / "drawn" / name)) is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "1.5"], "threshold is 1.5: allowed are 0 to 1"),
        (["--threshold", "0.5", "--best-f1"], "--best-f1 excludes --threshold"),
        (["--threshold", "0.5", "--recall-floor", "0.5"], "exclude each other"),
        (["--plot", "curve.docx"], "must end in"),
        (["--threads", "0"], "threads is 0"),
        (["--certainty", "0.95"], "a certainty needs a precision floor"),
        (["--max-false-alarms", "-1"], "--max-false-alarms is -1"),
        (["--max-false-alarms", "1", "--threshold", "0.5"], "leave out --threshold"),
        (["--min-size", "-1"], "--min-size is -1: allowed are 0 to 1000 pixels"),
        (["--min-size", "nan"], "--min-size is nan"),
        (["--pictures", "labels.txt"], "cannot be created"),
    ],
)
def test_evaluate_refuses_invalid_options(
    model: Path, garden: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(model.parent)
    with pytest.raises(InputError, match=message):
        beeagent("evaluate", model, f"{garden}=bee", "--labels", model.parent / "labels.txt", *options)


def test_evaluate_needs_a_model_and_data_that_exist(model: Path, garden: Path) -> None:
    with pytest.raises(InputError, match=r"none\.tflite cannot be read"):
        beeagent("evaluate", model.parent / "none.tflite", garden)
    with pytest.raises(InputError, match="no such file or folder"):
        beeagent("evaluate", model, model.parent / "nowhere", "--labels", model.parent / "labels.txt")
    with pytest.raises(InputError, match=r"has no data\.yaml"):
        beeagent("evaluate", model, garden, "--labels", model.parent / "labels.txt")


@pytest.fixture
def message(model: Path, garden: Path) -> Path:
    """Return the agent's message for the detections in the first image."""
    detector = Detector(ModelBundle.load(model, labels=model.parent / "labels.txt"), DetectorOptions(threads=1))
    pixels = cv2.imread(str(garden / "images" / "a.png"))
    assert pixels is not None
    found = detector.detect(pixels.astype(np.uint8))
    left, top, right, bottom = (float(edge) for edge in found.boxes[0])
    content = {
        "schema": "beeagent.detections/1",
        "frame": {"width": SIDE, "height": SIDE},
        "detections": [
            {
                "label": found.label(0),
                "confidence": float(found.confidences[0]),
                "box": {"left": left, "top": top, "width": right - left, "height": bottom - top},
            }
        ],
    }
    path = model.parent / "message.json"
    path.write_text(json.dumps(content))
    return path


def test_show_draws_a_message_onto_its_image(message: Path, garden: Path, tmp_path: Path) -> None:
    out = tmp_path / "shown.png"
    assert succeeding("show", garden / "images" / "a.png", message, "--out", out) == f"{out}: 1 bee\n"
    drawn = cv2.imread(str(out))
    assert drawn is not None
    assert drawn.shape == (640, 640, 3)
    # The box runs along the red square's edge, at a quarter of the image.
    assert tuple(drawn[320, 160]) not in {(40, 40, 40), (0, 0, 255)}


def test_show_finds_the_result_on_an_image_by_its_source(message: Path, garden: Path, tmp_path: Path) -> None:
    found = json.loads(message.read_text())
    about = [{**found, "source": {"name": "b.png"}, "detections": []}, {**found, "source": {"name": "a.png"}}]
    lines, out = tmp_path / "run.jsonl", tmp_path / "shown.png"
    lines.write_text("\n".join(json.dumps(one) for one in about))
    image = garden / "images" / "a.png"
    assert succeeding("show", image, lines, "--out", out) == f"{out}: 1 bee\n"
    assert succeeding("show", image, lines, "--out", out, "--line", "1") == f"{out}: no detections\n"
    lines.write_text(json.dumps(about[0]))
    with pytest.raises(InputError, match=r"is of b\.png, not of .*a\.png"):
        beeagent("show", image, lines, "--out", out)
    about[1]["source"]["name"] = "c.png"
    lines.write_text("\n".join(json.dumps(one) for one in about))
    with pytest.raises(InputError, match=r"no result in .*run\.jsonl has the source a\.png: choose one with --line"):
        beeagent("show", image, lines, "--out", out)


def test_show_draws_onto_the_frame_of_a_video_that_the_result_is_about(tmp_path: Path) -> None:
    video = write_video(tmp_path / "hive.avi", 20, codec="MJPG")
    lines, out = tmp_path / "run.jsonl", tmp_path / "shown.png"
    ended = run_beeagent(
        "--camera", video, *tiny_model(tmp_path), "--broker", "none", "--publish", "always", "--stdout", folder=tmp_path
    )
    lines.write_text(ended.stdout)
    for line in (1, 8, 20):
        succeeding("show", video, lines, "--out", out, "--line", str(line), "--threshold", "1")
        shown = cv2.imread(str(out))
        assert shown is not None
        assert number_in(cv2.resize(shown, (160, 64)).astype(np.uint8)) == line - 1
    lines.write_text(
        json.dumps({**json.loads(ended.stdout.splitlines()[0]), "source": {"name": "hive.avi", "position_s": 9}})
    )
    with pytest.raises(InputError, match=r"hive\.avi ends before 9 s"):
        beeagent("show", video, lines, "--out", out)
    lines.write_text(json.dumps({**json.loads(ended.stdout.splitlines()[0]), "source": {"name": "hive.avi"}}))
    with pytest.raises(InputError, match="has no position in it"):
        beeagent("show", video, lines, "--out", out)


def test_show_draws_rekognitions_answer_from_a_threshold_on(garden: Path, tmp_path: Path) -> None:
    answer = tmp_path / "a.png.json"
    box = {"BoundingBox": {"Left": 0.25, "Top": 0.25, "Width": 0.5, "Height": 0.5}}
    labels = [{"Name": "bee", "Confidence": confidence, "Geometry": box} for confidence in (99.97, 40.0)]
    answer.write_text(json.dumps({"CustomLabels": labels}))
    image, out = garden / "images" / "a.png", tmp_path / "shown.png"
    assert succeeding("show", image, answer, "--out", out) == f"{out}: 2 bee\n"
    assert succeeding("show", image, answer, "--out", out, "--threshold", "0.5") == f"{out}: 1 bee\n"
    drawn = cv2.imread(str(out))
    assert drawn is not None
    assert tuple(drawn[320, 160]) not in {(40, 40, 40), (0, 0, 255)}
    assert succeeding("show", image, answer, "--out", out, "--threshold", "1") == f"{out}: no detections\n"
    with pytest.raises(InputError, match="threshold is 50"):
        beeagent("show", image, answer, "--out", out, "--threshold", "50")


@pytest.mark.parametrize(
    ("image", "out", "message_text"),
    [
        ("none.png", "out.png", r"none\.png: cannot be read: No such file"),
        ("labels.txt", "out.png", r"labels\.txt: is not an image"),
        ("wide.png", "out.png", r"wide\.png is 128x64, .* give the image of the result"),
        ("garden/images/a.png", "out.xyz", r"give a name that ends in \.png or \.jpg"),
    ],
)
def test_show_refuses_invalid_options(message: Path, garden: Path, image: str, out: str, message_text: str) -> None:
    folder = garden.parent
    cv2.imwrite(str(folder / "wide.png"), np.zeros((64, 128, 3), np.uint8))
    with pytest.raises(InputError, match=message_text):
        beeagent("show", folder / image, message, "--out", folder / out)
    assert not (folder / out).exists()


def test_synthesize_makes_a_dataset(tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    printed = succeeding("dataset", "synthesize", "--out", out, "--frames", "2", "--size", "96x64", "--seed", "5")
    assert printed == f"{out / 'output.manifest'}\n"
    assert [(image.width, image.height) for image in read_dataset(out).images] == [(96, 64)] * 2


@pytest.mark.parametrize("size", ["96", "96x", "x64", "96X64", "-96x64", "9.5x64", "²x64"])
def test_a_malformed_size_is_refused(tmp_path: Path, size: str) -> None:
    with pytest.raises(InputError, match="give WIDTHxHEIGHT"):
        beeagent("dataset", "synthesize", "--out", tmp_path / "drawn", f"--size={size}")
    assert not (tmp_path / "drawn").exists()


def test_a_dataset_goes_through_all_commands(garden: Path, tmp_path: Path) -> None:
    data = f"{garden}=bee"
    assert beeagent("dataset", "check", data).exit_code == 0
    printed = succeeding("dataset", "convert", data, "--to", "ground-truth", "--out", tmp_path / "gt")
    manifest = tmp_path / "gt" / "output.manifest"
    assert printed == f"{manifest}: 2 images, 2 boxes\n"
    assert succeeding("dataset", "split", manifest, "--test", "0.5", "--at-random") == (
        f"{tmp_path / 'gt' / 'train.manifest'}: 1 images\n{tmp_path / 'gt' / 'test.manifest'}: 1 images\n"
    )
    assert len(read_dataset(tmp_path / "gt" / "test.manifest").images) == 1
    moved = tmp_path / "gt" / "moved.manifest"
    printed = succeeding("dataset", "rewrite", manifest, "--out", moved, "--bucket", "my-bees", "--prefix", "set")
    assert printed == f"{moved}: 2 lines\n"
    assert '"s3://my-bees/set/a.png"' in moved.read_text()
    assert beeagent("dataset", "check", moved).exit_code == 0
    sheet = tmp_path / "sheet.png"
    assert succeeding("dataset", "show", moved, "--sheet", sheet) == f"{sheet}: 2 of 2 images, 2 boxes\n"


def test_check_names_defects_and_fails(garden: Path, tmp_path: Path) -> None:
    succeeding("dataset", "convert", f"{garden}=bee", "--to", "ground-truth", "--out", tmp_path / "gt")
    (tmp_path / "gt" / "images" / "b.png").unlink()
    result = beeagent("dataset", "check", tmp_path / "gt")
    assert result.exit_code == 1
    manifest = tmp_path / "gt" / "output.manifest"
    assert result.stdout.startswith(f"{manifest}:2: missing-image: the image images/b.png is missing")
    assert result.stderr == f"{tmp_path / 'gt'}: 1 defect\n"


def test_download_fetches_and_names_the_manifest(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("output.manifest", "{}")
    with range_server(content.getvalue()) as served:
        printed = succeeding("dataset", "download", served.url, "--out", tmp_path / "bees")
    assert printed == f"{tmp_path / 'bees' / 'output.manifest'}\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_listing_the_commands_imports_nothing_heavy() -> None:
    code = "import sys, beeagent_models.cli.commands; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    imported = set(json.loads(run(code).stdout.replace("'", '"')))
    assert not imported & {"numpy", "cv2", "PIL", "matplotlib", "supervision", "pycocotools", "keras", "tensorflow"}


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [
        ("pycocotools", "cli.evaluate(None, Path('m'), ['d'])", "evaluate"),
        ("motrics", "cli.evaluate(None, tracks=Path('t'), predictions=Path('p'))", "evaluate"),
        ("supervision", "cli.show(Path('i'), Path('r'), out=Path('o.png'))", "evaluate"),
        ("tensorboard", "cli.train(None, out=Path('o'))", "train"),
    ],
)
def test_a_missing_extra_is_named(package: str, call: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from pathlib import Path\nfrom beeagent.errors import InputError\nfrom beeagent_models import cli\n"
        f"try:\n    {call}\nexcept InputError as error:\n    print(error)"
    )
    install = f"pip install '.[{extra}]' in the folder of beeagent's sources"
    expected = f"this command needs {package}, which is not installed: {install}\n"
    finished = run(code)
    assert finished.stdout == expected, finished.stderr
