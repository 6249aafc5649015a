import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from beeagent.errors import InputError
from beeagent_models import cli
from beeagent_models.tracks import (
    Crossings,
    Line,
    Tracks,
    find_track_crossings,
    read_tracks,
    write_crossings,
    write_mot,
    write_tracks,
)
from typer.testing import CliRunner, Result

LINE = Line(name="entrance", start=(1.0, 0.5), end=(0.0, 0.5))
SIZE = (640, 360)
FRAMES = 60


def run(*arguments: str | Path) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("evaluate")(cli.evaluate)
    app.add_typer(cli.dataset, name="dataset")
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "80"})
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


def evaluate(*arguments: str | Path) -> list[dict[str, dict[str, float] | list[dict[str, dict[str, float]]]]]:
    result = run("evaluate", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["rates"]


@pytest.fixture
def truth() -> Tracks:
    """Return two bees that cross the line upwards and one downwards, at 3 pixels per frame."""
    frames = np.arange(1, FRAMES + 1)
    ways = [(1, 100, 270 - 3 * frames), (2, 300, 272 - 3 * frames), (3, 500, 90 + 3 * frames)]
    boxes = np.stack(
        [np.stack([np.full(FRAMES, x - 20), y - 20, *[np.full(FRAMES, 40)] * 2], 1) for _, x, y in ways], 1
    )
    return Tracks(
        frame=np.repeat(frames, 3),
        track=np.tile([1, 2, 3], FRAMES),
        label=("bee",) * (3 * FRAMES),
        boxes=boxes.reshape(-1, 4).astype(np.float64),
        size=SIZE,
        rate=30,
        frames=FRAMES,
    )


@pytest.fixture
def folder(tmp_path: Path, truth: Tracks) -> Path:
    """Return a folder with the truth of a video and with predictions that change track 1 after frame 20."""
    write_tracks(tmp_path / "truth.jsonl", truth)
    write_mot(tmp_path / "truth", truth)
    found = find_track_crossings(truth, [LINE], size=SIZE, rate=30)
    crossings = Crossings(lines=(LINE,), crossings=tuple(found), size=SIZE, rate=30, frames=FRAMES)
    write_crossings(tmp_path / "crossings.jsonl", crossings)
    changed = np.where((truth.track == 1) & (truth.frame > 20), 9, truth.track)
    write_tracks(tmp_path / "predicted.jsonl", replace(truth, track=changed))
    return tmp_path


def test_figures_at_each_rate(folder: Path) -> None:
    rows = evaluate("--tracks", folder / "truth.jsonl", "--crossings", folder / "crossings.jsonl",
                    "--predictions", folder / "predicted.jsonl", "--rates", "30,15,10,5")  # fmt: skip
    assert [row["rate"] for row in rows] == [30, 15, 10, 5]
    assert [row["tracks"]["frames"] for row in rows] == [60, 30, 20, 10]
    assert [row["tracks"]["switches"] for row in rows] == [1, 1, 1, 1]
    # 20 of 60 boxes of one track in three lie on the other identity.
    assert rows[0]["tracks"]["idf1"] == pytest.approx(160 / 180, abs=1e-6)
    assert all(row["tracks"]["deta"] == pytest.approx(1) for row in rows)
    for row in rows:
        (errors,) = row["crossings"]
        assert errors["in"] == {"true": 2, "counted": 2, "error": 0, "missed": 0, "extra": 0}
        assert errors["out"] == {"true": 1, "counted": 1, "error": 0, "missed": 0, "extra": 0}
        assert errors["net"] == {"true": 1, "counted": 1, "error": 0}


def test_figures_do_not_depend_on_the_format(folder: Path) -> None:
    write_mot(folder / "predicted", read_tracks(folder / "predicted.jsonl"))
    (folder / "bare.txt").write_bytes((folder / "predicted" / "gt" / "gt.txt").read_bytes())
    found = [
        evaluate("--tracks", true, "--predictions", predicted)[0]["tracks"]
        for true in (folder / "truth.jsonl", folder / "truth" / "gt" / "gt.txt")
        for predicted in (folder / "predicted.jsonl", folder / "bare.txt")
    ]
    assert all(figures == found[0] for figures in found)
    assert found[0]["switches"] == 1


def test_predictions_of_a_smaller_video(folder: Path, truth: Tracks) -> None:
    write_tracks(folder / "small.jsonl", replace(truth, boxes=truth.boxes / 2, size=(320, 180)))
    (row,) = evaluate("--tracks", folder / "truth.jsonl", "--predictions", folder / "small.jsonl")
    assert row["tracks"]["hota"] == pytest.approx(1)


def test_a_file_for_each_rate(folder: Path, truth: Tracks) -> None:
    for rate, step in ((30, 1), (10, 3)):
        thinned = truth.every(step)
        write_tracks(folder / f"at-{rate}.jsonl", replace(thinned, track=thinned.track + rate))
    rows = evaluate("--tracks", folder / "truth.jsonl", "--predictions", folder / "at-{rate}.jsonl", "--rates", "30,10")
    assert [row["tracks"]["hota"] for row in rows] == [1, 1]
    with pytest.raises(InputError, match=r"at-15\.jsonl cannot be read"):
        evaluate("--tracks", folder / "truth.jsonl", "--predictions", folder / "at-{rate}.jsonl", "--rates", "15")
    write_tracks(folder / "at-15.jsonl", truth)
    with pytest.raises(InputError, match=r"at-15\.jsonl has tracks in frame 2, which is not one of 1, 3, 5, …: number"):
        evaluate("--tracks", folder / "truth.jsonl", "--predictions", folder / "at-{rate}.jsonl", "--rates", "15")


def test_counted_crossings(folder: Path) -> None:
    lines = (folder / "crossings.jsonl").read_text().splitlines(keepends=True)
    (folder / "counted.jsonl").write_text("".join([lines[0], *lines[2:]]))
    (row,) = evaluate("--crossings", folder / "crossings.jsonl", "--predictions", folder / "counted.jsonl")
    (errors,) = row["crossings"]
    counts = [errors[direction]["counted"] - errors[direction]["true"] for direction in ("in", "out")]
    assert sorted(counts) == [-1, 0]
    assert row["tracks"] is None
    with pytest.raises(InputError, match="has crossings and no tracks"):
        evaluate("--tracks", folder / "truth.jsonl", "--predictions", folder / "counted.jsonl")
    with pytest.raises(InputError, match=r"was counted at one rate: give a file for each rate, with \{rate\}"):
        evaluate("--crossings", folder / "crossings.jsonl", "--predictions", folder / "counted.jsonl",
                 "--rates", "30,10")  # fmt: skip
    (folder / "counted.jsonl").write_text("".join(lines).replace("entrance", "door"))
    with pytest.raises(InputError, match="has no line 'entrance' of the ground truth, but door: use the same names"):
        evaluate("--crossings", folder / "crossings.jsonl", "--predictions", folder / "counted.jsonl")


def test_messages_of_the_agent(folder: Path, truth: Tracks) -> None:
    """Tracks of its detections, and counts of its traffic, from one file."""
    messages = [
        {
            "schema": "beeagent.detections/1",
            "frame": {"width": 640, "height": 360},
            "source": {"name": "busy.mp4", "position_s": round((frame - 1) / 30, 3)},
            "detections": [
                {
                    "label": "bee",
                    "track": int(track),
                    "box": dict(zip(("left", "top", "width", "height"), box, strict=True)),
                }
                for track, box in zip(
                    truth.track[rows], (truth.boxes[rows] / (640, 360, 640, 360)).tolist(), strict=True
                )
            ],
        }
        for frame, rows in truth.by_frame()
    ]
    for event, into, out in (("a", 1, 2), ("b", 0, 1), ("b", 0, 1)):
        both = {"in": into, "out": out}
        line = {"bee": {**both, "today": both, "total": both}}
        lines = {"entrance": line, "other": line}
        messages.append({"schema": "beeagent.traffic/1", "event_id": event, "lines": lines, "zones": {}})
    (folder / "messages.jsonl").write_text("\n".join(map(json.dumps, messages)))
    arguments = ("--crossings", folder / "crossings.jsonl", "--predictions", folder / "messages.jsonl")
    (row,) = evaluate("--tracks", folder / "truth.jsonl", *arguments)
    assert row["tracks"]["hota"] == pytest.approx(1)
    (errors,) = row["crossings"]
    assert errors["in"] == {"true": 2, "counted": 1, "error": -0.5, "missed": None, "extra": None}
    assert errors["out"] == {"true": 1, "counted": 3, "error": 2, "missed": None, "extra": None}
    assert errors["net"] == {"true": 1, "counted": -2, "error": -1}
    assert evaluate(*arguments)[0]["crossings"] == [errors]
    assert "-50.0 %      -     -" in run("evaluate", *arguments).stdout
    with pytest.raises(InputError, match="was counted at one rate"):
        evaluate(*arguments, "--rates", "30,15")
    (folder / "messages.jsonl").write_text(json.dumps(messages[-1]).replace("entrance", "door"))
    with pytest.raises(
        InputError, match="has no line 'entrance' of the ground truth, but door, other: use the same names"
    ):
        evaluate(*arguments)
    (folder / "messages.jsonl").write_text(json.dumps(messages[-1]).replace('"in": 0', '"in": -1'))
    with pytest.raises(InputError, match=r"line 1: lines\.entrance\.bee\.in is -1"):
        evaluate(*arguments)


def test_tables(folder: Path) -> None:
    result = run("evaluate", "--tracks", folder / "truth.jsonl", "--crossings", folder / "crossings.jsonl",
                 "--predictions", folder / "predicted.jsonl", "--rates", "30,15")  # fmt: skip
    assert result.exit_code == 0
    words = [line.split() for line in result.stdout.splitlines()]
    assert words[0] == [
        "frames/s",
        "HOTA",
        "DetA",
        "AssA",
        "IDF1",
        "MOTA",
        "switches",
        "missed",
        "false",
        "tracks",
        "true",
    ]
    # The track that changes: 20 boxes at 20 of 60, 40 at 40 of 60; the two others are perfect.
    association = (20 * 20 / 60 + 40 * 40 / 60 + 2 * 60) / 180
    shares = [f"{100 * share:.1f}" for share in (association**0.5, 1, association, 160 / 180, 1 - 1 / 180)]
    assert words[1] == ["30", *shares, "1", "0", "0", "4", "3"]
    assert ["30", "entrance", "bee", "in", "2", "2", "+0.0", "%", "0", "0"] in words
    assert ["15", "entrance", "bee", "net", "+1", "+1", "+0.0", "%"] in words


def test_wrong_options_are_refused(folder: Path) -> None:
    tracks = ("--tracks", folder / "truth.jsonl")
    predictions = ("--predictions", folder / "predicted.jsonl")
    for arguments, message in (
        ((), "give a MODEL and DATA, or --tracks TRUTH --predictions FILE"),
        (("model",), "give a MODEL and DATA"),
        (predictions, "need a ground truth: give --tracks TRUTH or --crossings TRUTH"),
        (tracks, "need predictions: give --predictions FILE"),
        (
            (*tracks, *predictions, "--threshold", "0.5"),
            "--threshold is for the evaluation of a model: leave it out",
        ),
        (("model", "data", *tracks, *predictions), "belongs to the evaluation of a model"),
        ((*tracks, *predictions, "--rates", "30,7"), "--rates has '7': allowed are the video's 30 frames/s"),
        ((*tracks, *predictions, "--rates", "x"), "--rates has 'x'"),
        ((*tracks, *predictions, "--rates", "0"), "--rates has '0'"),
        ((*tracks, *predictions, "--rates", "inf"), "--rates has 'inf'"),
        ((*tracks, *predictions, "--rates", "nan"), "--rates has 'nan'"),
        ((*tracks, *predictions, "--rates", "60"), "--rates has '60'"),
        ((*tracks, "--predictions", folder / "nothing"), "nothing cannot be read"),
    ):
        with pytest.raises(InputError) as refused:
            run("evaluate", *arguments)
        assert message in str(refused.value)


def test_wrong_files_are_refused(folder: Path, truth: Tracks) -> None:
    bare = folder / "bare.txt"
    bare.write_text("1,1,0,0,5,5\n")
    with pytest.raises(InputError, match=r"bare\.txt has no frame rate, which --rates needs: put a seqinfo\.ini"):
        evaluate("--tracks", bare, "--predictions", folder / "predicted.jsonl", "--rates", "10")
    longer = replace(truth, frame=truth.frame + 5, frames=FRAMES + 5)
    write_tracks(folder / "longer.jsonl", longer)
    with pytest.raises(
        InputError, match=r"longer\.jsonl has tracks in frame 65, but the video of the ground truth has 60"
    ):
        evaluate("--tracks", folder / "truth.jsonl", "--predictions", folder / "longer.jsonl")
    write_tracks(folder / "slow.jsonl", replace(truth, rate=25))
    with pytest.raises(InputError, match=r"crossings\.jsonl: rate is 30 frames/s, that of .*slow\.jsonl is 25"):
        evaluate("--tracks", folder / "slow.jsonl", "--crossings", folder / "crossings.jsonl",
                 "--predictions", folder / "predicted.jsonl")  # fmt: skip
    empty = replace(truth.every(1000), frame=truth.frame[:0], track=truth.track[:0], label=(), boxes=truth.boxes[:0])
    write_tracks(folder / "empty.jsonl", empty)
    with pytest.raises(InputError, match=r"empty\.jsonl has no tracks: give the ground truth of a video with objects"):
        evaluate("--tracks", folder / "empty.jsonl", "--predictions", folder / "predicted.jsonl")
    (row,) = evaluate("--tracks", folder / "truth.jsonl", "--predictions", folder / "empty.jsonl")
    assert row["tracks"]["hota"] == 0


def test_drawn_video_is_measured_by_its_truth(tmp_path: Path) -> None:
    video = tmp_path / "busy.mp4"
    result = run("dataset", "synthesize", "--video", video, "--seconds", "4", "--rate", "15", "--size", "240x160",
                 "--seed", "3", "--bees", "4")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"{video}: 60 frames"
    rows = evaluate("--tracks", tmp_path / "busy" / "gt" / "gt.txt", "--crossings", tmp_path / "busy.crossings.jsonl",
                    "--predictions", tmp_path / "busy.tracks.jsonl", "--rates", "15,5")  # fmt: skip
    assert [row["tracks"]["hota"] for row in rows] == [1, 1]
    assert rows[0]["crossings"][0]["in"]["error"] in {0, None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --out FOLDER for images or --video FILE.mp4"),
        (("--out", "a", "--video", "b.mp4"), "give either"),
        (("--video", "b.mp4", "--frames", "5"), "--frames is for images: give --seconds and --rate"),
        (("--out", "a", "--line", "0,0,1,1"), "--line is for a video: give it with --video"),
        (("--out", "a", "--bees", "3"), "--bees is for a video"),
        (("--video", "b.mp4", "--line", "0,0"), "write X1,Y1,X2,Y2"),
        (("--video", "b.mp4", "--size", "big"), "size is 'big': write WIDTHxHEIGHT"),
    ],
)
def test_wrong_options_of_synthesize_are_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run("dataset", "synthesize", *arguments)
