import json
from pathlib import Path

import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.tracks import Tracks, read_tracks, write_mot, write_tracks
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = (640, 360)

objects = st.dictionaries(
    st.tuples(st.integers(1, 20), st.integers(-1, 2**53)),
    st.tuples(
        st.sampled_from(["bee", "wasp", "Hornisse, große"]),
        st.integers(-50, 700),
        st.integers(-50, 400),
        st.integers(1, 300),
        st.integers(1, 300),
    ),
    max_size=30,
)


def made(found: dict[tuple[int, int], tuple[str, int, int, int, int]], *, rate: float = 30.0) -> Tracks:
    keys = sorted(found)
    return Tracks(
        frame=np.array([frame for frame, _ in keys], dtype=np.int64),
        track=np.array([track for _, track in keys], dtype=np.int64),
        label=tuple(found[key][0] for key in keys),
        boxes=np.array([found[key][1:] for key in keys], dtype=np.float64).reshape(-1, 4),
        size=SIZE,
        rate=rate,
        frames=20,
    )


def assert_same(read: Tracks, written: Tracks, *, labels: bool) -> None:
    np.testing.assert_array_equal(read.frame, written.frame)
    np.testing.assert_array_equal(read.track, written.track)
    np.testing.assert_allclose(read.boxes, written.boxes, atol=0.001)
    assert read.label == (written.label if labels else ("",) * len(written.label))
    assert (read.size, read.rate, read.frames) == (written.size, written.rate, written.frames)


@given(objects, st.sampled_from([1.0, 12.5, 29.97, 30.0, 240.0]))
@settings(deadline=None, max_examples=25)
def test_json_lines_are_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, found: dict[tuple[int, int], tuple[str, int, int, int, int]], rate: float
) -> None:
    path = tmp_path_factory.mktemp("own") / "a.jsonl"
    write_tracks(path, made(found, rate=rate))
    assert_same(read_tracks(path), made(found, rate=rate), labels=True)
    assert len(path.read_text().splitlines()) == 21


@given(objects)
@settings(deadline=None, max_examples=25)
def test_mot_format_is_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, found: dict[tuple[int, int], tuple[str, int, int, int, int]]
) -> None:
    tracks = made({key: value for key, value in found.items() if value})
    path = write_mot(tmp_path_factory.mktemp("mot") / "sequence", tracks)
    if len(tracks.frame):
        assert_same(read_tracks(path, is_truth=True), tracks, labels=False)
    else:
        with pytest.raises(InputError, match="is empty"):
            read_tracks(path)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.lists(
            st.lists(
                st.one_of(st.integers().map(str), st.floats().map(str), st.sampled_from(["", "x", "-1", "1e400"])),
                max_size=9,
            ).map(",".join),
            max_size=5,
        ).map(lambda lines: "\n".join(lines).encode()),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
            lambda inner: st.dictionaries(
                st.sampled_from(["schema", "frame", "tracks", "track", "box", "width", "height", "rate", "frames"]),
                inner | st.just("beeagent.tracks/1") | st.lists(inner, max_size=3),
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
@settings(deadline=None, max_examples=60)
def test_any_file_is_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "a"
    path.write_bytes(content)
    tracks, message = None, ""
    try:
        tracks = read_tracks(path, rate=30)
    except InputError as error:
        message = str(error)
    if tracks is None:
        assert message.startswith(str(path))
        assert "\n" not in message
    else:
        assert tracks.boxes.shape == (len(tracks.frame), 4)
        assert np.isfinite(tracks.boxes).all()
        assert (np.diff(tracks.frame) >= 0).all()


HEADER = '{"schema":"beeagent.tracks/1","width":640,"height":360,"rate":30,"frames":9}\n'
BOX = '{"left":0.1,"top":0.2,"width":0.3,"height":0.4}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("1,2,3\n", "line 1: 3 values with commas between them"),
        ("1,1,0,0,5,5\n1,2,0,0,x,5\n", "line 2: 'x' is not a number"),
        ("1,1,0,0,nan,5\n", "line 1: 'nan' is not a number"),
        ("0,1,0,0,5,5\n", "line 1: frame is 0: allowed are whole numbers of 1 or more"),
        ("1.5,1,0,0,5,5\n", "line 1: frame is 1.5"),
        ("1,0.5,0,0,5,5\n", "line 1: track is 0.5"),
        ("1,1,0,0,0,5\n", "line 1: the box is 0x5 pixels"),
        ("2,7,0,0,5,5\n1,7,0,0,5,5\n2,7,1,1,5,5\n", "line 3: track 7 is already in frame 2, by line 1"),
        ('{"schema":"beeagent.tracks/2"}', "line 1: schema is 'beeagent.tracks/2': allowed are beeagent.tracks/1"),
        ('{"schema":"beeagent.status/1"}', "has no message beeagent.detections/1: give one with the tracks"),
        ('{"schema":"beeagent.status/1"}\n{}', "line 2: schema is '': allowed are messages of the agent"),
        ('{"width":1}', "line 1: schema is ''"),
        (HEADER.replace("640", "0"), "line 1: width is 0: Input should be greater than or equal to 1"),
        (HEADER.replace('"rate":30,', ""), "line 1: rate: Field required"),
        (HEADER + '{"frame":1}', "line 2: tracks: Field required"),
        (HEADER + '{"frame":1,"tracks":[{"track":"4","box":' + BOX + "}]}", "line 2: tracks.0.track is '4'"),
        (
            HEADER + '{"frame":1,"tracks":[{"track":4,"box":' + BOX.replace("0.3", "0") + "}]}",
            "tracks.0.box.width is 0",
        ),
        (HEADER + '{"frame":10,"tracks":[{"track":4,"box":' + BOX + "}]}", "line 2: frame is 10: the video has 9"),
        (HEADER + "{", "line 2: Invalid JSON"),
        (
            '{"schema":"beeagent.detections/1","frame":{"width":640,"height":360},"source":{"position_s":0},'
            '"detections":[{"label":"bee","box":' + BOX + "}]}",
            "has no detection with a track: run the agent with --places or --track",
        ),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "tracks"
    path.write_text(content)
    with pytest.raises(InputError) as refused:
        read_tracks(path, rate=30)
    assert str(refused.value).startswith(str(path))
    assert message in str(refused.value)


def test_files_that_are_no_text_or_missing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"1,1,0,0,5,5\n\xff\xfe")
    with pytest.raises(InputError, match="line 2: not UTF-8"):
        read_tracks(tmp_path / "binary")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_tracks(tmp_path / "missing")


def test_mot_truth_excludes_ignored_rows(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("1,1,0,0,5,5,1,1,1\n1,2,0,0,5,5,0,1,1\n")
    assert read_tracks(path, is_truth=True).track.tolist() == [1]
    assert read_tracks(path).track.tolist() == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        "nothing",
        "[Sequence]\nimWidth=640\n",
        "[Sequence]\nimWidth=640\nimHeight=0\nframeRate=30\nseqLength=5\n",
        "[Sequence]\nimWidth=640\nimHeight=360\nframeRate=nan\nseqLength=5\n",
    ],
)
def test_wrong_sequence_info_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "gt.txt").write_text("1,1,0,0,5,5\n")
    (tmp_path / "seqinfo.ini").write_text(content)
    with pytest.raises(InputError, match=r"seqinfo\.ini is not in MOT challenge format: give imWidth"):
        read_tracks(tmp_path / "gt" / "gt.txt")


def test_messages_of_the_agent_are_read_by_their_position(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    rows = [
        {
            "schema": "beeagent.detections/1",
            "device": "hive-7",
            "frame": {"width": 640, "height": 360},
            "source": {"name": "busy.mp4", "position_s": position},
            "detections": [
                {
                    "label": "bee",
                    "confidence": 0.9,
                    "track": 5,
                    "box": {"left": 0.5, "top": 0.25, "width": 0.1, "height": 0.2},
                },
                # Its track is not confirmed yet.
                {"label": "bee", "confidence": 0.5, "box": {"left": 0.1, "top": 0.1, "width": 0.1, "height": 0.1}},
            ],
        }
        for position in (0.0, 0.033, 0.067, 0.2)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    tracks = read_tracks(path, rate=30)
    assert tracks.frame.tolist() == [1, 2, 3, 7]
    assert tracks.track.tolist() == [5] * 4
    np.testing.assert_allclose(tracks.boxes[0], [320, 90, 64, 72])
    with pytest.raises(InputError, match="need the frame rate"):
        read_tracks(path)


def test_every_keeps_the_first_frame_and_scaling_changes_boxes() -> None:
    tracks = made({(frame, 1): ("bee", 10, 20, 30, 40) for frame in range(1, 9)})
    assert tracks.every(3).frame.tolist() == [1, 4, 7]
    np.testing.assert_allclose(tracks.scaled_to((1280, 1080)).boxes[0], [20, 60, 60, 120])
    assert tracks.scaled_to(None) is tracks
