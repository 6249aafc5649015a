"""State of an archive: pending videos, and one file of results per video."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from beeagent.camera import VIDEO_SUFFIXES
from beeagent.detection import Detector, DetectorOptions, load_probed_bundle, resolve_tiling
from beeagent.errors import InputError, requires_extra

from beeagent_models.archive.formats import ResultFormat
from beeagent_models.archive.worker import ArchiveOptions, VideoCounts, file_version
from beeagent_models.datasets.atomic_write import atomic_write, make_folder

# Spark, Athena and Arrow skip names that begin with an underscore.
RECORD_FILE: Final = "_archive.json"
PROBLEMS_FOLDER: Final = "_problems"

_SCHEMA: Final = "beeagent.archive/1"


class Archive:
    """The results of a folder of recordings, which can be resumed.

    The results of `2026/hive.mp4` are in `2026/hive.mp4.csv`, or `.parquet`. `_archive.json` has the options and the
    model. Files in `_problems` have the reasons why videos could not be read completely.

    Args:
        folder: folder of the recordings.
        out: folder of the results: new, empty, or of an archive with the same options.
        options: options of the counting.
        result_format: format of the results.

    Raises:
        InputError: an option cannot be used, the folder has no videos, or `out` has other content.
    """

    def __init__(
        self,
        folder: Path,
        out: Path,
        options: ArchiveOptions,
        *,
        result_format: ResultFormat = ResultFormat.CSV,
    ) -> None:
        if result_format is ResultFormat.PARQUET:
            with requires_extra("archive", feature="--format parquet"):
                import pyarrow as pa  # noqa: F401, PLC0415 - an extra
        self.folder = folder
        self.out = out
        self.options = options
        self._format = result_format
        self.videos = find_videos(folder)
        if not self.videos:
            raise InputError(f"{folder} has no videos: give a folder with files such as .mp4, .mkv or .avi")
        _open_out(out, _record(folder, options, result_format))

    def pending(self) -> list[str]:
        """Return the videos without results, relative to the folder, the largest first to balance the workers.

        A video with a problem is pending again after its file has changed.
        """
        pending = [video for video in self.videos if not self._is_done(video)]
        return sorted(pending, key=lambda video: (-((file_version(self.folder / video) or (0, 0))[0]), video))

    def store(self, counts: VideoCounts) -> None:
        """Write the results of a video atomically.

        Raises:
            InputError: the results cannot be written.
        """
        result, problem = self._result_file(counts.file), self._problem_file(counts.file)
        content = _csv(counts, self.options) if self._format is ResultFormat.CSV else _parquet(counts, self.options)
        if counts.problem is not None:
            make_folder(problem.parent)
            with atomic_write(problem) as file:
                json.dump({"problem": counts.problem, "version": counts.version}, file)
        make_folder(result.parent)
        with atomic_write(result, "wb") as file:
            file.write(content)
        if counts.problem is None:
            problem.unlink(missing_ok=True)

    def problems(self) -> list[str]:
        """Return the problems of videos that could not be read completely."""
        problems = (self._problem(video) for video in self.videos)
        return [problem["problem"] for problem in problems if problem is not None]

    def _is_done(self, video: str) -> bool:
        if not self._result_file(video).is_file():
            return False
        problem = self._problem(video)
        return problem is None or problem["version"] == _as_json(file_version(self.folder / video))

    def _problem(self, video: str) -> dict[str, Any] | None:
        path = self._problem_file(video)
        try:
            problem: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return {"problem": problem["problem"], "version": problem["version"]}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} cannot be read: {error}; remove it to read the video again") from error

    def _result_file(self, video: str) -> Path:
        return self.out / f"{video}.{self._format.value}"

    def _problem_file(self, video: str) -> Path:
        return self.out / PROBLEMS_FOLDER / f"{video}.json"


def find_videos(folder: Path) -> list[str]:
    """Return the videos in a folder and its subfolders as relative paths, sorted by name.

    Videos are files with a suffix that the agent supports. Hidden files and folders are skipped.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        return sorted(path.relative_to(folder).as_posix() for path in _walk(folder))
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {error.strerror or error}") from error


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if not path.is_symlink():
                yield from _walk(path)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            yield path


def _record(folder: Path, options: ArchiveOptions, result_format: ResultFormat) -> dict[str, Any]:
    """Return the options and the model that determine the results, and the folder of the recordings."""
    bundle = load_probed_bundle(options.model, labels=options.labels, threads=1)
    tiling = resolve_tiling(options.tiles, bundle)
    # Fails for an unusable model before anything is written.
    detector = Detector(bundle, DetectorOptions(threads=1, threshold=options.threshold, tiling=tiling))
    return {
        "schema": _SCHEMA,
        "folder": str(folder.resolve()),
        "model": bundle.identity,
        "model_sha256": bundle.sha256,
        "labels": list(bundle.labels),
        "threshold": detector.threshold,
        "tiles": str(tiling),
        "rate": options.rate,
        "interval": options.interval_s,
        "places": None if options.places is None else options.places.model_dump(mode="json", by_alias=True),
        "format": result_format.value,
    }


def _open_out(out: Path, record: dict[str, Any]) -> None:
    """Write the record of a new archive, or compare it with the existing one."""
    make_folder(out)
    path = out / RECORD_FILE
    try:
        existing = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        # Hidden files may be temporary files of a killed process.
        if any(not each.name.startswith(".") for each in out.iterdir()):
            raise InputError(f"{out} is not empty and has no {RECORD_FILE}: give a new folder") from None
        with atomic_write(path) as file:
            json.dump(record, file, indent=2)
            file.write("\n")
        return
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; give a new folder") from error
    if not isinstance(existing, dict) or existing.get("schema") != _SCHEMA:
        raise InputError(f"{path} does not have the schema {_SCHEMA}: give a new folder")
    for name, value in record.items():
        if (old := existing.get(name)) == _as_json(value):
            continue
        if name in {"places", "labels"}:
            raise InputError(f"{out} was made with other {name}: give the same, or a new folder")
        if name == "folder":
            raise InputError(
                f"{out} was made from the folder {old}, not {value}: give a new folder, or, if the recordings were "
                f"moved, change it in {path}"
            )
        raise InputError(f"{out} was made with {name} {old}, not {value}: give the same, or a new folder")


def _as_json(value: object) -> object:
    """Return a value as it is read back from JSON, with lists for tuples."""
    return json.loads(json.dumps(value))


def _csv(counts: VideoCounts, options: ArchiveOptions) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(options.columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(counts.rows)
    return text.getvalue().encode()


def _parquet(counts: VideoCounts, options: ArchiveOptions) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, types[kind]) for name, kind in options.columns.items()])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(counts.rows, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()
