"""Divides a manifest, or a dataset, into two: what a model is trained on, and what it is judged by."""

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

# The name up to its last number: IMG_0007.jpg is of the series IMG_, front-12-0007.jpg of front-12-.
_SERIES = re.compile(r"(.*?)\d*\D*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a split.

    Attributes:
        manifest: what was written.
        images: its lines.
        series: how many series they are of; at random, how many different images.
    """

    manifest: Path
    images: int
    series: int


def split_manifest(  # noqa: PLR0913 - each a choice of its own
    manifest: Path, *, out: Path, fraction: float, seed: int, by_series: bool, pattern: str | None = None
) -> tuple[Part, Part]:
    """Write `train.manifest` and `test.manifest`; each line is in one of them, as it was and in its old order.

    A series is never divided, nor are lines about the same image. Which series go to the test is drawn by
    the seed and the names alone. Series are taken, in the drawn order, as long as they fit into the wanted number of
    images; at random (each image a series of its own) that number is met exactly. Needs flat memory.

    Args:
        manifest: the manifest to divide.
        out: the folder to write to. Where references are relative, the manifest's own, beside which images are
            found.
        fraction: of the images, for the test; more than 0, less than 1.
        seed: another seed draws other images.
        by_series: whether images of one series stay together.
        pattern: a regular expression, searched for in an image's name; its first group, or else all that it
            matched, names the series. None for the name up to its last number.

    Returns:
        The two parts, that for training first.

    Raises:
        InputError: a value or the manifest cannot be used, or there is only one series.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the fraction for the test is {fraction:g}: it must be more than 0 and less than 1")
    if pattern is not None and not by_series:
        raise InputError("a pattern for series cannot be used when images are drawn at random")
    series = _Series(by_series=by_series, pattern=_compiled(pattern))
    if manifest.resolve() in {(out / name).resolve() for name in (TRAIN, TEST)}:
        raise InputError(f"{manifest} would be overwritten: rename it, or write to another folder")
    with temporary_database() as database:
        _count(database, series.of_lines(manifest), seed)
        _choose(database, fraction, str(manifest))
        make_folder(out)
        with atomic_write(out / TRAIN) as train, atomic_write(out / TEST) as test:
            for key, text in series.of_lines(manifest):
                chosen = database.execute("SELECT 1 FROM test WHERE key = ?", (digest_of(key),)).fetchone()
                (test if chosen else train).write(text.decode("utf-8").rstrip("\r\n") + "\n")
        tested = database.execute("SELECT sum(size), count(*) FROM series WHERE key IN test").fetchone()
        trained = database.execute("SELECT sum(size), count(*) FROM series WHERE key NOT IN test").fetchone()
    return Part(out / TRAIN, *trained), Part(out / TEST, *tested)


@dataclass(frozen=True, slots=True)
class Division:
    """A dataset in two parts.

    Attributes:
        train: images to train on.
        held_back: images that are only measured on.
        series: number of series held back; None where all images are of one series, whose end is held back.
    """

    train: Dataset
    held_back: Dataset
    series: int | None


def hold_back(dataset: Dataset, *, fraction: float, seed: int, pattern: str | None = None) -> Division:
    """Hold back some series of a dataset to measure on; no series is in both parts.

    Which ones is drawn as in `split_manifest`. By the name alone, an image such as clip_12_v2 would be of a series
    `clip_12_v`; where there is a series `clip_` it is of that one, unless a pattern is given. Where there is only one
    series, its last images by name are held back, in one block: neighbours in time look alike.

    Args:
        dataset: the images, two or more.
        fraction: of the images to hold back; more than 0, less than 1.
        seed: another seed holds back other series.
        pattern: that names the series, as in `split_manifest`.

    Raises:
        InputError: a value cannot be used, or there are fewer than two images.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the fraction to hold back is {fraction:g}: it must be more than 0 and less than 1")
    images = dataset.images
    if len(images) < 2:
        raise InputError(f"{dataset.name}: has {len(images)} images: two or more are needed to hold some back")
    series = _Series(by_series=True, pattern=_compiled(pattern))
    # Relative, so that a dataset in another place is divided likewise.
    names = [os.path.relpath(image.path, os.path.commonpath([i.path.parent for i in images])) for image in images]
    keys = [series.of(name, where=str(image.path)) for name, image in zip(names, images, strict=True)]
    if pattern is None:
        keys = _with_variants(keys)
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
    parts = [tuple(i for i, held in zip(images, chosen, strict=True) if held is wanted) for wanted in (False, True)]
    return Division(replace(dataset, images=parts[0]), replace(dataset, images=parts[1]), count)


def _with_variants(keys: Sequence[str]) -> list[str]:
    """Return the keys, each replaced by that of the series of which its images are variants: `clip_12_v` by `clip_`."""
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


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
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
        what = "all images are of one series: give a pattern that distinguishes series, or draw at random"
        raise InputError(f"{name}: {what if images > 1 else 'a split needs two images or more'}")
    wanted, taken, chosen = max(1, round(images * fraction)), 0, 0
    for key, size in database.execute("SELECT key, size FROM series ORDER BY place, key"):
        if taken + size <= wanted and chosen < count - 1:
            database.execute("INSERT INTO test VALUES (?)", (key,))
            taken, chosen = taken + size, chosen + 1
    if not chosen:
        # Every series is larger than what is wanted: the smallest comes nearest.
        database.execute("INSERT INTO test SELECT key FROM series ORDER BY size, place LIMIT 1")
