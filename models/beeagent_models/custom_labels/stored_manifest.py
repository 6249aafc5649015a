"""A manifest in S3, looked at before anybody pays for what is made of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beeagent.errors import InputError

from beeagent_models.aws import Service, split_s3_address
from beeagent_models.datasets.checking import check_dataset
from beeagent_models.datasets.ground_truth_source import GroundTruthSource

_MOST_TOLD: Final = 20
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """What a manifest says.

    Attributes:
        bucket: where it is.
        key: likewise.
        pictures: how many it names.
        boxes: how many there are on them.
        labels: what they may show.
        prefixes: by each bucket with pictures, what their keys begin with.
    """

    bucket: str
    key: str
    pictures: int
    boxes: int
    labels: tuple[str, ...]
    prefixes: dict[str, str]

    def __str__(self) -> str:
        return f"{self.pictures} pictures with {self.boxes} boxes of {', '.join(self.labels)}"


def read_stored_manifest(s3: Service, address: str, *, folder: Path, tell: Callable[[str], None]) -> StoredManifest:
    """Fetch a manifest, and look for every defect that can be seen without fetching the pictures.

    Args:
        s3: the service, in the region in which all has to be.
        address: of the manifest, `s3://BUCKET/KEY`.
        folder: where to keep it meanwhile.
        tell: told of each defect.

    Raises:
        InputError: it is not there, or has defects.
        AwsError: it cannot be read.
    """
    bucket, key = split_s3_address(address)
    if not key:
        raise InputError(f"{address} is a bucket: write s3://BUCKET/KEY of the manifest")
    file = folder / "output.manifest"
    with file.open("wb") as target:
        for chunk in s3("get_object", Bucket=bucket, Key=key)["Body"].iter_chunks(_CHUNK):
            target.write(chunk)
    _refuse_defects(file, address, tell)
    source = GroundTruthSource(file, labels=None, attribute=None)
    keys: dict[str, set[str]] = {}
    pictures = boxes = 0
    for picture in source.pictures():
        if not picture.reference.startswith("s3://"):
            raise InputError(
                f"{address} names the picture {picture.reference}, which is not in S3: `beeagent dataset rewrite` "
                "points a manifest at a bucket"
            )
        of, at = split_s3_address(picture.reference)
        keys.setdefault(of, set()).add(at)
        pictures += 1
        boxes += len(picture.boxes)
    prefixes = {of: _folder_of(those) for of, those in keys.items()}
    for of, those in keys.items():
        _refuse_missing(s3, of, those, prefixes[of], tell)
    return StoredManifest(bucket, key, pictures, boxes, source.labels, prefixes)


def _refuse_defects(file: Path, address: str, tell: Callable[[str], None]) -> None:
    defects = 0
    for defect in check_dataset(str(file), pictures=False):
        defects += 1
        if defects <= _MOST_TOLD:
            tell(str(defect).replace(str(file), address))
    if defects:
        raise InputError(f"{address} has {defects} defects: mend them first")


def _refuse_missing(s3: Service, bucket: str, keys: set[str], prefix: str, tell: Callable[[str], None]) -> None:
    there = {entry["Key"] for entry in s3.pages("list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix)}
    missing = sorted(keys - there)
    for key in missing[:_MOST_TOLD]:
        tell(f"missing-image: s3://{bucket}/{key} is not there")
    if missing:
        raise InputError(f"{len(missing)} of {len(keys)} pictures are missing in {bucket}: upload them first")


def _folder_of(keys: set[str]) -> str:
    """Give what all keys begin with, up to a slash; it may be empty."""
    first, last = min(keys), max(keys)  # what these two share, all between them do
    shared = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[: first.rfind("/", 0, shared) + 1]
