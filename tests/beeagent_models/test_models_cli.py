import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_models
import typer
from beeagent.detection.bundle import load_bundle
from beeagent.detection.detector import Detector, DetectorOptions
from beeagent.errors import InputError
from beeagent_models import cli
from beeagent_models.datasets.reading import read_dataset
from beeagent_process import run_beeagent, tiny_model
from numbered_frames import number_in, write_video
from range_server import range_server
from typer.testing import CliRunner, Result

SIDE = 64


def beeagent(*arguments: str | Path) -> Result:
    """Run a command as the device's command line mounts it; a user's mistake comes out as its InputError."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    for name in ("train", "evaluate", "show"):
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
    """Give a real TFLite model that finds the red of a picture, exactly; its labels lie in labels.txt beside it."""
    (tmp_path / "labels.txt").write_text("bee\ngreen\nblue\n")
    (tmp_path / "red.tflite").write_bytes(
        tiny_models.edge_finder(size=SIDE, names={kind: kind for kind in tiny_models.OUTPUTS})
    )
    return tmp_path / "red.tflite"


@pytest.fixture
def garden(tmp_path: Path) -> Path:
    """Give a YOLO folder: one bee to be found; one to be missed, with a weaker false alarm elsewhere."""
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
    figures = json.loads(succeeding("evaluate", model, f"{garden}=bee", "--labels", labels, "--json", "--threads", "1"))
    assert figures["ap50"] == pytest.approx(51 / 101)
    assert (figures["precision"], figures["recall"]) == (1, 0.5)
    assert figures["threshold_chosen_by"] == "best F1"
    assert figures["model"].startswith("red@")
    assert figures["threads"] == 1


@pytest.mark.parametrize(
    ("options", "precision", "chosen_by"),
    [
        (["--threshold", "0.5"], 0.5, "given"),
        (["--precision-floor", "0.9"], 1, "best recall with precision >= 0.9"),
        (["--recall-floor", "0.5"], 1, "best precision with recall >= 0.5"),
        (["--best-f1"], 1, "best F1"),
    ],
)
def test_evaluate_chooses_the_threshold_as_told(
    model: Path, garden: Path, options: list[str], precision: float, chosen_by: str
) -> None:
    labels = model.parent / "labels.txt"
    figures = json.loads(succeeding("evaluate", model, f"{garden}=bee", "--labels", labels, "--json", *options))
    assert figures["precision"] == precision
    assert figures["threshold_chosen_by"] == chosen_by


def test_evaluate_measures_several_data_sets_as_one(model: Path, garden: Path, tmp_path: Path) -> None:
    labels = model.parent / "labels.txt"
    succeeding("dataset", "synthesize", "--out", tmp_path / "drawn", "--frames", "3", "--size", "64x64")
    data = (f"{garden}=bee", str(tmp_path / "drawn"))
    figures = json.loads(succeeding("evaluate", model, *data, "--labels", labels, "--json"))
    assert figures["dataset"] == "garden+drawn"
    assert figures["images"] == 5


def test_evaluate_prints_a_table_and_draws(model: Path, garden: Path, tmp_path: Path) -> None:
    printed = succeeding(
        "evaluate", model, f"{garden}=bee", "--labels", model.parent / "labels.txt", "--threshold", "0.5",
        "--plot", tmp_path / "curve.svg", "--pictures", tmp_path / "drawn",
    )  # fmt: skip
    assert "garden: 2 pictures, 2 boxes" in printed
    assert "50.5 %" in printed
    assert (tmp_path / "curve.svg").stat().st_size > 1000
    pictures = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert pictures == ["0-a.jpg", "1-b.jpg"]
    for name in pictures:
        assert cv2.imread(str(tmp_path / "drawn" / name)) is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "1.5"], "threshold is 1.5: allowed are 0 to 1"),
        (["--threshold", "0.5", "--best-f1"], "--best-f1 chooses the threshold by itself"),
        (["--threshold", "0.5", "--recall-floor", "0.5"], "exclude each other"),
        (["--plot", "curve.docx"], "must end in"),
        (["--threads", "0"], "threads is 0"),
        (["--pictures", "labels.txt"], "cannot be made"),
    ],
)
def test_evaluate_refuses_what_cannot_be(
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
    """Give a message, as the agent would publish it, of what the model finds in the first picture."""
    detector = Detector(load_bundle(model, labels=model.parent / "labels.txt"), DetectorOptions(threads=1))
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


def test_show_draws_a_message_onto_its_picture(message: Path, garden: Path, tmp_path: Path) -> None:
    out = tmp_path / "shown.png"
    assert succeeding("show", garden / "images" / "a.png", message, "--out", out) == f"{out}: 1 bee\n"
    drawn = cv2.imread(str(out))
    assert drawn is not None
    assert drawn.shape == (640, 640, 3)
    # The box runs along the red square's edge, at a quarter of the picture.
    assert tuple(drawn[320, 160]) not in {(40, 40, 40), (0, 0, 255)}


def test_show_finds_the_result_on_an_image_by_its_source(message: Path, garden: Path, tmp_path: Path) -> None:
    found = json.loads(message.read_text())
    about = [{**found, "source": {"name": "b.png"}, "detections": []}, {**found, "source": {"name": "a.png"}}]
    lines, out = tmp_path / "run.jsonl", tmp_path / "shown.png"
    lines.write_text("\n".join(json.dumps(one) for one in about))
    image = garden / "images" / "a.png"
    assert succeeding("show", image, lines, "--out", out) == f"{out}: 1 bee\n"
    assert succeeding("show", image, lines, "--out", out, "--line", "1") == f"{out}: nothing found\n"
    lines.write_text(json.dumps(about[0]))
    with pytest.raises(InputError, match=r"is about b\.png, not about .*a\.png"):
        beeagent("show", image, lines, "--out", out)
    about[1]["source"]["name"] = "c.png"
    lines.write_text("\n".join(json.dumps(one) for one in about))
    with pytest.raises(InputError, match=r"no result in .*run\.jsonl names a\.png as its source: --line"):
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
    with pytest.raises(InputError, match="does not say which of its frames"):
        beeagent("show", video, lines, "--out", out)


def test_show_draws_rekognitions_answer_from_a_threshold_on(garden: Path, tmp_path: Path) -> None:
    answer = tmp_path / "a.png.json"
    box = {"BoundingBox": {"Left": 0.25, "Top": 0.25, "Width": 0.5, "Height": 0.5}}
    labels = [{"Name": "bee", "Confidence": confidence, "Geometry": box} for confidence in (99.97, 40.0)]
    answer.write_text(json.dumps({"CustomLabels": labels}))
    picture, out = garden / "images" / "a.png", tmp_path / "shown.png"
    assert succeeding("show", picture, answer, "--out", out) == f"{out}: 2 bee\n"
    assert succeeding("show", picture, answer, "--out", out, "--threshold", "0.5") == f"{out}: 1 bee\n"
    drawn = cv2.imread(str(out))
    assert drawn is not None
    assert tuple(drawn[320, 160]) not in {(40, 40, 40), (0, 0, 255)}
    assert succeeding("show", picture, answer, "--out", out, "--threshold", "1") == f"{out}: nothing found\n"
    with pytest.raises(InputError, match="threshold is 50"):
        beeagent("show", picture, answer, "--out", out, "--threshold", "50")


@pytest.mark.parametrize(
    ("image", "out", "message_text"),
    [
        ("none.png", "out.png", r"the picture .*none\.png is not there"),
        ("labels.txt", "out.png", r"labels\.txt is not a picture"),
        ("wide.png", "out.png", r"wide\.png is 128x64, .* belongs to another picture"),
        ("garden/images/a.png", "out.xyz", r"end its name in \.png or \.jpg"),
    ],
)
def test_show_refuses_what_cannot_be(message: Path, garden: Path, image: str, out: str, message_text: str) -> None:
    folder = garden.parent
    cv2.imwrite(str(folder / "wide.png"), np.zeros((64, 128, 3), np.uint8))
    with pytest.raises(InputError, match=message_text):
        beeagent("show", folder / image, message, "--out", folder / out)
    assert not (folder / out).exists()


def test_synthesize_makes_a_data_set(tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    printed = succeeding("dataset", "synthesize", "--out", out, "--frames", "2", "--size", "96x64", "--seed", "5")
    assert printed == f"{out / 'output.manifest'}\n"
    assert [(image.width, image.height) for image in read_dataset(out).images] == [(96, 64)] * 2


@pytest.mark.parametrize("size", ["96", "96x", "x64", "96X64", "-96x64", "9.5x64", "²x64"])
def test_a_malformed_size_is_refused(tmp_path: Path, size: str) -> None:
    with pytest.raises(InputError, match="write WIDTHxHEIGHT"):
        beeagent("dataset", "synthesize", "--out", tmp_path / "drawn", f"--size={size}")
    assert not (tmp_path / "drawn").exists()


def test_a_data_set_goes_through_all_commands(garden: Path, tmp_path: Path) -> None:
    data = f"{garden}=bee"
    assert beeagent("dataset", "check", data).exit_code == 0
    printed = succeeding("dataset", "convert", data, "--to", "ground-truth", "--out", tmp_path / "gt")
    manifest = tmp_path / "gt" / "output.manifest"
    assert printed == f"{manifest}: 2 pictures, 2 boxes\n"
    assert succeeding("dataset", "split", manifest, "--test", "0.5", "--at-random") == (
        f"{tmp_path / 'gt' / 'train.manifest'}: 1 pictures\n{tmp_path / 'gt' / 'test.manifest'}: 1 pictures\n"
    )
    assert len(read_dataset(tmp_path / "gt" / "test.manifest").images) == 1
    moved = tmp_path / "gt" / "moved.manifest"
    printed = succeeding("dataset", "rewrite", manifest, "--out", moved, "--bucket", "my-bees", "--prefix", "set")
    assert printed == f"{moved}: 2 lines\n"
    assert '"s3://my-bees/set/a.png"' in moved.read_text()
    assert beeagent("dataset", "check", moved).exit_code == 0
    sheet = tmp_path / "sheet.png"
    assert succeeding("dataset", "show", moved, "--sheet", sheet) == f"{sheet}: 2 of 2 pictures, 2 boxes\n"


def test_check_names_defects_and_fails(garden: Path, tmp_path: Path) -> None:
    succeeding("dataset", "convert", f"{garden}=bee", "--to", "ground-truth", "--out", tmp_path / "gt")
    (tmp_path / "gt" / "images" / "b.png").unlink()
    result = beeagent("dataset", "check", tmp_path / "gt")
    assert result.exit_code == 1
    manifest = tmp_path / "gt" / "output.manifest"
    assert result.stdout.startswith(f"{manifest}:2: missing-image: the picture images/b.png is not there")
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
    code = "import sys, beeagent_models.cli; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    imported = set(json.loads(run(code).stdout.replace("'", '"')))
    assert not imported & {"numpy", "cv2", "PIL", "matplotlib", "supervision", "pycocotools", "keras", "tensorflow"}


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [
        ("pycocotools", "cli.evaluate(Path('m'), ['d'])", "evaluate"),
        ("supervision", "cli.show(Path('i'), Path('r'), out=Path('o.png'))", "evaluate"),
        ("tensorboard", "cli.train(out=Path('o'))", "train"),
    ],
)
def test_a_missing_extra_is_named(package: str, call: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from pathlib import Path\nfrom beeagent.errors import InputError\nfrom beeagent_models import cli\n"
        f"try:\n    {call}\nexcept InputError as error:\n    print(error)"
    )
    expected = f"this command needs the package {package}: pip install 'beeagent[{extra}]'\n"
    finished = run(code)
    assert finished.stdout == expected, finished.stderr
