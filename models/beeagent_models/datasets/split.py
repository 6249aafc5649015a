"""Splits a manifest or a dataset into a training part and a held-out part."""

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from beeagent.camera import natural_key
from beeagent.errors import InputError

from beeagent_models.datasets.atomic_write import atomic_write, make_folder
from beeagent_models.datasets.dataset import Dataset
from beeagent_models.datasets.ground_truth import manifest_lines, parse_row
from beeagent_models.datasets.image_files import reference_path
from beeagent_models.datasets.sqlite_index import digest_of, temporary_database

TRAIN = "train.manifest"
TEST = "test.manifest"

# The name up to its last number: IMG_0007.jpg belongs to the series IMG_, front-12-0007.jpg to front-12-.
_SERIES = re.compile(r"(.*?)\d*\D*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a split.

    Attributes:
        manifest: the manifest of the part.
        images: number of lines.
        series: number of series; with a random split, number of different images.
    """

    manifest: Path
    images: int
    series: int


def split_manifest(  # noqa: PLR0913
    manifest: Path, *, out: Path, fraction: float, seed: int, by_series: bool, pattern: str | None = None
) -> tuple[Part, Part]:
    """Write `train.manifest` and `test.manifest` with the unchanged lines of a manifest, with constant memory.

    A series is in one part only, and so are the lines of an image. The order of the series is random and depends on
    seed and names alone; in this order, series are added to the test part if they do not exceed its size. With a random
    split, each image is a series, and the size is exact.

    Args:
        manifest: manifest to split.
        out: output folder. With relative references, it must be the folder of the manifest, where images are found.
        fraction: share of the test part, above 0 and below 1.
        seed: random seed.
        by_series: keep the images of a series together.
        pattern: regular expression to search for in image names; its first group, or else the whole match, is the
            series. None for the name up to its last number.

    Returns:
        The training part and the test part.

    Raises:
        InputError: a value or the manifest cannot be used, or there is only one series.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the test fraction is {fraction:g}: it must be more than 0 and less than 1")
    if pattern is not None and not by_series:
        raise InputError("a series pattern cannot be used with a random split: leave one of them out")
    series = _Series(by_series=by_series, pattern=_compile(pattern))
    if manifest.resolve() in {(out / name).resolve() for name in (TRAIN, TEST)}:
        raise InputError(f"{manifest} would be overwritten: rename it, or give another folder")
    with temporary_database() as database:
        _count(database, series.of_lines(manifest), seed)
        _choose(database, fraction, str(manifest))
        make_folder(out)
        with atomic_write(out / TRAIN) as train, atomic_write(out / TEST) as test:
            for key, text in series.of_lines(manifest):
                is_test = database.execute("SELECT 1 FROM test WHERE key = ?", (digest_of(key),)).fetchone()
                (test if is_test else train).write(text.decode("utf-8").rstrip("\r\n") + "\n")
        tested = database.execute("SELECT sum(size), count(*) FROM series WHERE key IN test").fetchone()
        trained = database.execute("SELECT sum(size), count(*) FROM series WHERE key NOT IN test").fetchone()
    return Part(out / TRAIN, *trained), Part(out / TEST, *tested)


@dataclass(frozen=True, slots=True)
class Split:
    """A dataset in two parts.

    Attributes:
        train: training images.
        held_back: images held back for the evaluation.
        series: number of series held back; None if all images are of one series, whose last images are held back.
    """

    train: Dataset
    held_back: Dataset
    series: int | None


def hold_back(dataset: Dataset, *, fraction: float, seed: int, pattern: str | None = None) -> Split:
    """Hold back random series of a dataset for the evaluation, as in `split_manifest`.

    Without a pattern, variants such as clip_12_v2 belong to the series `clip_` if it exists, not to `clip_12_v`. If
    there is only one series, its last images by name are held back as a block, because consecutive images are similar.

    Args:
        dataset: dataset with at least two images.
        fraction: share of images to hold back, above 0 and below 1.
        seed: random seed.
        pattern: regular expression for the series, as in `split_manifest`.

    Raises:
        InputError: a value cannot be used, or there are fewer than two images.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the fraction to hold back is {fraction:g}: it must be more than 0 and less than 1")
    images = dataset.images
    if len(images) < 2:
        raise InputError(f"{dataset.name}: has {len(images)} images: two or more are needed to hold some back")
    series = _Series(by_series=True, pattern=_compile(pattern))
    # Relative paths, so that the split does not depend on the dataset's location.
    names = [os.path.relpath(image.path, os.path.commonpath([i.path.parent for i in images])) for image in images]
    keys = [series.of(name, where=str(image.path)) for name, image in zip(names, images, strict=True)]
    if pattern is None:
        keys = _merge_variants(keys)
    count: int | None = None
    if len(set(keys)) > 1:
        with temporary_database() as database:
            _count(database, ((key, b"") for key in keys), seed)
            _choose(database, fraction, dataset.name)
            digests = {row[0] for row in database.execute("SELECT key FROM test")}
        chosen = [digest_of(key) in digests for key in keys]
        count = len(digests)
    else:
        last = sorted(range(len(images)), key=lambda index: natural_key(images[index].path))
        ending = set(last[-min(max(1, round(len(images) * fraction)), len(images) - 1) :])
        chosen = [index in ending for index in range(len(images))]
    train = tuple(image for image, held in zip(images, chosen, strict=True) if not held)
    held_back = tuple(image for image, held in zip(images, chosen, strict=True) if held)
    return Split(replace(dataset, images=train), replace(dataset, images=held_back), count)


def _merge_variants(keys: Sequence[str]) -> list[str]:
    """Replace the series of variants by their original series: `clip_12_v` by `clip_`."""
    known, roots = set(keys), {}
    for key in known:
        shorter = key
        roots[key] = key
        while (match := _SERIES.fullmatch(shorter)) and match[1] != shorter:
            shorter = match[1]
            if shorter in known:
                roots[key] = shorter
    return [roots[key] for key in keys]


@dataclass(frozen=True, slots=True)
class _Series:
    by_series: bool
    pattern: re.Pattern[str] | None

    def of_lines(self, manifest: Path) -> Iterator[tuple[str, bytes]]:
        for where, text in manifest_lines(manifest):
            reference = parse_row(text, where=where)["source-ref"]
            yield self.of(reference, where=where) if self.by_series else reference, text

    def of(self, reference: str, *, where: str) -> str:
        path = PurePosixPath(reference_path(reference))
        if self.pattern is not None:
            match = self.pattern.search(path.name)
            if match is None:
                raise InputError(f"{where}: the name {path.name} does not match the pattern {self.pattern.pattern}")
            return (match.group(1) if self.pattern.groups else match.group()) or ""
        match = _SERIES.fullmatch(path.stem)
        return str(path.parent / (match.group(1) if match else path.stem))


def _compile(pattern: str | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise InputError(f"the pattern '{pattern}' is not a regular expression: {error}") from None


def _count(database: sqlite3.Connection, series: Iterator[tuple[str, bytes]], seed: int) -> None:
    database.execute("CREATE TABLE series (key BLOB PRIMARY KEY, place BLOB, size INTEGER) WITHOUT ROWID")
    for key, _ in series:
        database.execute(
            "INSERT INTO series (key, place, size) VALUES (?, ?, 1) ON CONFLICT (key) DO UPDATE SET size = size + 1",
            (digest_of(key), digest_of(f"{seed} {key}")),
        )
    database.execute("CREATE INDEX drawn ON series (place, size)")
    database.execute("CREATE TABLE test (key BLOB PRIMARY KEY) WITHOUT ROWID")


def _choose(database: sqlite3.Connection, fraction: float, name: str) -> None:
    (count, images) = database.execute("SELECT count(*), coalesce(sum(size), 0) FROM series").fetchone()
    if count < 2:
        what = "all images are of one series: give a pattern that distinguishes series, or split at random"
        raise InputError(f"{name}: {what if images > 1 else 'a split needs two images or more'}")
    target, taken, chosen = max(1, round(images * fraction)), 0, 0
    for key, size in database.execute("SELECT key, size FROM series ORDER BY place, key"):
        if taken + size <= target and chosen < count - 1:
            database.execute("INSERT INTO test VALUES (?)", (key,))
            taken, chosen = taken + size, chosen + 1
    if not chosen:
        # Every series exceeds the target size: the smallest is the closest.
        database.execute("INSERT INTO test SELECT key FROM series ORDER BY size, place LIMIT 1")
