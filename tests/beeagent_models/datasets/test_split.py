import json
from pathlib import Path

import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.split import hold_back, split_manifest
from hypothesis import given
from hypothesis import strategies as st
from support.shared_data import shared_file


def write(folder: Path, *names: str) -> Path:
    """Write a manifest whose lines have blanks that a rewriting would lose."""
    manifest = folder / "output.manifest"
    manifest.write_text("".join(f'{{"source-ref":   {json.dumps(name)} }}\n' for name in names))
    return manifest


def split(
    manifest: Path, *, fraction: float = 0.25, seed: int = 0, by_series: bool = True, pattern: str | None = None
) -> tuple[list[str], list[str]]:
    """Return the lines of both parts."""
    parts = split_manifest(
        manifest, out=manifest.parent / "parts", fraction=fraction, seed=seed, by_series=by_series, pattern=pattern
    )
    texts = [part.manifest.read_text(encoding="utf-8").splitlines(keepends=True) for part in parts]
    assert [part.images for part in parts] == [len(text) for text in texts]
    return texts[0], texts[1]


def series_of(lines: list[str]) -> set[str]:
    return {json.loads(line)["source-ref"].rpartition("-")[0] for line in lines}


SERIES = [f"s3://b/{series}-{number:03}.jpg" for number in range(5) for series in ("a", "b", "c", "d")]


@pytest.mark.parametrize("seed", range(4))
def test_a_series_is_never_divided_and_lines_stay_as_they_were(tmp_path: Path, seed: int) -> None:
    manifest = write(tmp_path, *SERIES)
    train, test = split(manifest, seed=seed)
    assert (len(train), len(test)) == (15, 5)
    assert not series_of(train) & series_of(test)
    kept = iter(train), iter(test)
    whole = manifest.read_text().splitlines(keepends=True)
    assert sorted(train + test) == sorted(whole)
    for part in kept:
        assert list(part) == [line for line in whole if line in (train if part is kept[0] else test)]


def test_the_seed_decides_and_nothing_else(tmp_path: Path) -> None:
    manifest = write(tmp_path, *SERIES)
    drawn = {seed: split(manifest, seed=seed)[1] for seed in range(8)}
    assert all(split(manifest, seed=seed)[1] == drawn[seed] for seed in range(8))
    assert len({tuple(test) for test in drawn.values()}) > 1


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 9))
def test_at_random_the_share_is_exact(
    tmp_path_factory: pytest.TempPathFactory, count: int, fraction: float, seed: int
) -> None:
    manifest = write(tmp_path_factory.getbasetemp(), *(f"a-{number}.jpg" for number in range(count)))
    train, test = split(manifest, fraction=fraction, seed=seed, by_series=False)
    assert len(test) == min(max(1, round(count * fraction)), count - 1)
    assert len(train) == count - len(test)


def test_the_same_image_twice_is_on_one_side(tmp_path: Path) -> None:
    train, test = split(write(tmp_path, *["a.jpg", "b.jpg", "c.jpg"] * 2), fraction=0.4, by_series=False)
    assert not set(train) & set(test)


def test_a_pattern_names_the_series(tmp_path: Path) -> None:
    manifest = write(tmp_path, *(f"{day}{number:04}.jpg" for day in ("0105", "0106") for number in range(3)))
    with pytest.raises(InputError, match="all images are of one series: give a pattern"):
        split(manifest)
    train, test = split(manifest, fraction=0.5, pattern=r"^(\d{4})")
    assert {line.split('"')[3][:4] for line in train} ^ {line.split('"')[3][:4] for line in test} == {"0105", "0106"}
    assert (len(train), len(test)) == (3, 3)


def test_series_larger_than_the_share_leave_the_smallest_for_the_test(tmp_path: Path) -> None:
    train, test = split(
        write(tmp_path, *(f"a-{n}.jpg" for n in range(9)), *(f"b-{n}.jpg" for n in range(5))), fraction=0.1
    )
    assert (len(train), len(test)) == (9, 5)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_that_leaves_nothing_is_refused(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(InputError, match="more than 0 and less than 1"):
        split(write(tmp_path, *SERIES), fraction=fraction)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a split needs two images or more"):
        split(write(tmp_path, "a.jpg"))
    with pytest.raises(InputError, match=r"'\(' is not a regular expression"):
        split(write(tmp_path, *SERIES), pattern="(")
    with pytest.raises(InputError, match=r"output\.manifest:1: the name a-000\.jpg does not match"):
        split(write(tmp_path, *SERIES), pattern="x")
    with pytest.raises(InputError, match="cannot be used"):
        split(write(tmp_path, *SERIES), pattern="a", by_series=False)
    write(tmp_path, *SERIES).rename(tmp_path / "train.manifest")
    with pytest.raises(InputError, match="would be overwritten"):
        split_manifest(tmp_path / "train.manifest", out=tmp_path, fraction=0.2, seed=0, by_series=True)
    assert not (tmp_path / "parts").exists()


def test_the_photographs_of_hives_are_split_by_series(tmp_path: Path) -> None:
    train, test = split_manifest(
        shared_file("hive/output.manifest"), out=tmp_path, fraction=0.2, seed=0, by_series=True
    )
    assert train.images + test.images == 196
    assert 20 <= test.images <= 39


def dataset_of(folder: Path, *names: str) -> Dataset:
    boxes, ids = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    return Dataset("mine", tuple(LabelledImage(folder / name, 8, 8, boxes, ids) for name in names), ("bee",))


def names_in(dataset: Dataset) -> list[str]:
    return [image.path.name for image in dataset.images]


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=8),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**31),
)
def test_no_series_is_both_trained_on_and_held_back(sizes: list[int], fraction: float, seed: int) -> None:
    names = [f"clip{'abcdefgh'[series]}_{n}.jpg" for series, size in enumerate(sizes) for n in range(size)]
    here, there = (hold_back(dataset_of(Path(f), *names), fraction=fraction, seed=seed) for f in ("/here", "/there/x"))
    train, held_back = names_in(here.train), names_in(here.held_back)
    assert train
    assert held_back
    assert sorted(train + held_back) == sorted(names)
    series = {name.partition("_")[0] for name in held_back}
    assert not {name.partition("_")[0] for name in train} & series
    assert here.series == len(series)
    assert names_in(there.held_back) == held_back  # wherever the images lie


@given(count=st.integers(2, 40), fraction=st.floats(0.01, 0.99))
def test_of_a_single_series_the_end_is_held_back(count: int, fraction: float) -> None:
    names = [f"front-{number}.jpg" for number in range(count)]
    split = hold_back(dataset_of(Path("/mine"), *reversed(names)), fraction=fraction, seed=0)
    held_back = names_in(split.held_back)[::-1]
    assert split.series is None
    assert names_in(split.train)[::-1] + held_back == names
    assert len(held_back) == min(max(1, round(count * fraction)), count - 1)


def test_invalid_share_is_refused() -> None:
    with pytest.raises(InputError, match="mine: has 1 images: two or more"):
        hold_back(dataset_of(Path("/mine"), "a.jpg"), fraction=0.2, seed=0)
    with pytest.raises(InputError, match="more than 0 and less than 1"):
        hold_back(dataset_of(Path("/mine"), "a.jpg", "b.jpg"), fraction=1.0, seed=0)
    with pytest.raises(InputError, match="not a regular expression"):
        hold_back(dataset_of(Path("/mine"), "a.jpg", "b.jpg"), fraction=0.5, seed=0, pattern="(")


@given(seed=st.integers(0, 1000))
def test_variants_of_an_image_stay_with_its_series(seed: int) -> None:
    clips = ("hive_3_14am_", "hive_3_15pm_", "front-")
    names = [f"{clip}{number}{end}.jpg" for clip in clips for number, end in enumerate(("", "", "", "_v2", "_v3_1"))]
    split = hold_back(dataset_of(Path("/mine"), *names), fraction=0.4, seed=seed)
    parts = [
        {clip for name in names_in(part) for clip in clips if name.startswith(clip)}
        for part in (split.train, split.held_back)
    ]
    assert not parts[0] & parts[1]
