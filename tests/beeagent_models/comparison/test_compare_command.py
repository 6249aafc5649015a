"""`beeagent compare`, from the command line to the HTML report."""

import inspect
import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
import typer
from beeagent.errors import InputError
from beeagent.settings import settings_by_name
from beeagent_models import cli
from beeagent_models.datasets.reading import read_dataset
from beeagent_models.datasets.synthesize import synthesize
from support.beeagent_process import run_beeagent
from support.compared import CAREFUL, HASTY, answer, manifest
from support.rekognition_server import ACCESS_KEY, PROJECT_VERSION_ARN, SECRET_KEY, Fault, Labels, RekognitionServer
from typer.testing import CliRunner, Result

pytestmark = pytest.mark.aws

BUNDLE = Path(__file__).parents[3] / "models" / "bees-lite0"


def compare(*arguments: str | Path) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("compare")(cli.compare)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


def kept(folder: Path, name: str, rows: object) -> Path:
    (folder / name).mkdir()
    for image, found in zip("abc", rows, strict=True):  # type: ignore[call-overload]
        (folder / name / f"{image}.png.json").write_text(json.dumps(answer(found)))
    return folder / name


def test_the_shipped_model_whole_and_in_tiles_and_kept_results(tmp_path: Path) -> None:
    date = datetime(2026, 5, 4, tzinfo=timezone.utc)
    drawn = synthesize(tmp_path / "set", frames=3, width=480, height=360, seed=77, created_at=date)
    dataset = read_dataset(drawn)
    # As good as the labels themselves.
    (tmp_path / "right").mkdir()
    for image in dataset.images:
        boxes = [
            {"left": float(x), "top": float(y), "width": float(r - x), "height": float(b - y), "confidence": 99}
            for x, y, r, b in image.boxes
        ]
        (tmp_path / "right" / f"{image.path.stem}.json").write_text(json.dumps(boxes))
    page = tmp_path / "compare.html"
    models = ("whole=bees-lite0", f"{BUNDLE},tiles=2x2", f"{BUNDLE / 'model.tflite'},labels={BUNDLE / 'labels.txt'}")
    result = compare(drawn, *models, tmp_path / "right", "--json", "--out", page, "--threads", "1")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert [model["name"] for model in figures["models"]] == ["whole", "bees-lite0 2x2", "model", "right"]
    whole, tiled, bare, right = figures["models"]
    assert whole["ap50"] > 0.4
    assert bare["ap50"] > 0.4
    assert tiled["curve"] != whole["curve"]
    assert (right["ap50"], right["f1"], right["usd_per_1000_images"]) == (pytest.approx(1), 1, None)
    assert whole["usd_per_1000_images"] == 0
    assert whole["bytes_sent_per_image"] * 5 < right["bytes_sent_per_image"]
    assert whole["milliseconds_per_image"]["median"] > 0
    assert len(figures["agreement"]) == 6
    assert page.read_text().count("<article>") <= 3


def test_costs_of_live_and_cached_model(tmp_path: Path) -> None:
    data, hasty = manifest(tmp_path), kept(tmp_path, "hasty", HASTY)
    with RekognitionServer() as server:
        given = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_REKOGNITION": server.url,
        }
        server.will(*(Labels(answer(rows)["CustomLabels"]) for rows in CAREFUL))
        live = run_beeagent(
            "compare", data, f"live={PROJECT_VERSION_ARN}", hasty, "--images-per-hour", "2000", "--hourly-price", "8",
            "--keep", tmp_path / "kept", "--json", folder=tmp_path, **given,
        )  # fmt: skip
        assert live.returncode == 0, live.stderr
        assert live.stderr == ("live: making 3 calls; calls are free, the running model costs about $8.00 per hour\n")
        first, second = json.loads(live.stdout)["models"]
        assert (first["kind"], first["recall"], first["usd_per_1000_images"]) == ("cloud", 0.75, 4)
        assert (second["kind"], second["usd_per_1000_images"]) == ("answers", 4)
        again = run_beeagent("compare", data, tmp_path / "kept" / "live", hasty, "--json", folder=tmp_path, **given)
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["models"][0]["curve"]["recall"] == first["curve"]["recall"]
        assert len(server.requests) == 3
        server.answer = Fault("ResourceNotReadyException")
        stopped = run_beeagent("compare", data, PROJECT_VERSION_ARN, hasty, folder=tmp_path, **given)
    assert stopped.returncode == 2
    assert stopped.stderr.splitlines()[1].endswith(f"beeagent rekognition start --arn {PROJECT_VERSION_ARN}")
    assert "Traceback" not in stopped.stderr


def test_the_table_is_printed(tmp_path: Path) -> None:
    data = manifest(tmp_path)
    result = compare(data, kept(tmp_path, "careful", CAREFUL), kept(tmp_path, "hasty", HASTY))
    assert result.exit_code == 0, result.output
    for words in ("3 images, 4 boxes", "careful", "hasty", "article: cloud", "50 %", "a.png"):
        assert words in result.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["careful"], "1 contenders: give"),
        (["careful", "nowhere"], "nowhere: there is no such bundle, .tflite or folder of results"),
        (["careful", "empty"], "empty: no result for 3 of 3 images"),
        (["careful", "hasty,tiles=2x2"], "hasty: is a folder of results: leave out tiles and labels"),
        (["careful", f"{PROJECT_VERSION_ARN},tiles=2x2"], "is a cloud model: leave out tiles and labels"),
        (["careful", "x=arn:aws:s3:::bees"], "give the ARN of a Custom Labels model version"),
        (["careful", f"{BUNDLE},tiles=9x9"], "tiles is '9x9'"),
        (["careful", f"{BUNDLE / 'model.tflite'},labels=ants.txt"], "model: garden is labelled bee, but .* ant"),
        (["careful", "hasty", "--pictures", "25"], "--pictures is 25: allowed are 0 to 24"),
        (["careful", "hasty", "--out", "x.pdf"], "must end in .html"),
        (["careful", "hasty", "--thresholds", "0.5", "5"], "threshold is 5"),
        (["careful", "hasty", "--images-per-hour", "0"], "--images-per-hour is 0"),
    ],
)
def test_invalid_comparison_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    folder = tmp_path / "garden"
    folder.mkdir()
    data = manifest(folder)
    kept(folder, "careful", CAREFUL)
    kept(folder, "hasty", HASTY)
    (folder / "empty").mkdir()
    (folder / "ants.txt").write_text("ant\n")
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=complaint) as caught:
        compare(data, *arguments)
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    data, careful = manifest(tmp_path), kept(tmp_path, "careful", CAREFUL)
    for package, extra in (("pycocotools", "evaluate"), ("boto3", "rekognition")):
        code = (
            f"import sys; sys.modules['{package}'] = None\n"
            "from beeagent.errors import InputError\nfrom beeagent_models import cli\n"
            f"try:\n    cli.compare({str(data)!r}, [{str(careful)!r}, {PROJECT_VERSION_ARN!r}])\n"
            "except InputError as error:\n    print(error)"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert f"pip install '.[{extra}]'" in run.stdout, run.stderr


def test_hourly_price_is_that_of_the_settings() -> None:
    default = inspect.signature(cli.compare).parameters["hourly_price"].default
    assert default == settings_by_name()["rekognition_hourly_price"].default
