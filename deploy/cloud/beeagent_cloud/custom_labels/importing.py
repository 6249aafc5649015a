"""Import manifests from S3 into a project, after checking them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from beeagent.errors import BeeagentError, InputError
from beeagent_models.datasets import GroundTruthReader, check_dataset

from beeagent_cloud.aws import PROJECT_TAG, Service, split_s3_address
from beeagent_cloud.custom_labels.training import Project, delete_dataset

_MAX_LISTED: Final = 20
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest in S3.

    Attributes:
        bucket: bucket of the manifest.
        key: key of the manifest.
        images: number of images.
        boxes: number of boxes in all images.
        labels: class names.
        prefixes: common key prefix of the images, by bucket.
    """

    bucket: str
    key: str
    images: int
    boxes: int
    labels: tuple[str, ...]
    prefixes: dict[str, str]

    def __str__(self) -> str:
        return f"{self.images} images with {self.boxes} boxes of {', '.join(self.labels)}"


def read_stored_manifest(s3: Service, address: str, *, folder: Path, report: Callable[[str], None]) -> StoredManifest:
    """Fetch a manifest, and check everything that can be checked without fetching the images.

    Args:
        s3: client of S3 in the region of the project.
        address: address of the manifest, `s3://BUCKET/KEY`.
        folder: folder for a temporary copy.
        report: receives each defect.

    Raises:
        InputError: the address is invalid, or the manifest has defects.
        AwsError: the manifest cannot be read.
    """
    bucket, key = split_s3_address(address)
    if not key:
        raise InputError(f"{address} is a bucket: write s3://BUCKET/KEY of the manifest")
    file = folder / "output.manifest"
    with file.open("wb") as target:
        for chunk in s3("get_object", Bucket=bucket, Key=key)["Body"].iter_chunks(_CHUNK):
            target.write(chunk)
    _refuse_defects(file, address, report)
    source = GroundTruthReader(file, labels=None, attribute=None)
    keys: dict[str, set[str]] = {}
    images = boxes = 0
    for image in source.records():
        if not image.reference.startswith("s3://"):
            raise InputError(
                f"{address} names the image {image.reference}, which is not in S3: `beeagent dataset rewrite` "
                "points a manifest at a bucket"
            )
        image_bucket, image_key = split_s3_address(image.reference)
        keys.setdefault(image_bucket, set()).add(image_key)
        images += 1
        boxes += len(image.boxes)
    prefixes = {name: _folder_of(those) for name, those in keys.items()}
    for name, those in keys.items():
        _refuse_missing(s3, name, those, prefixes[name], report)
    return StoredManifest(bucket, key, images, boxes, source.labels, prefixes)


def _refuse_defects(file: Path, address: str, report: Callable[[str], None]) -> None:
    defects = 0
    for defect in check_dataset(str(file), images=False):
        defects += 1
        if defects <= _MAX_LISTED:
            report(str(defect).replace(str(file), address))
    if defects:
        raise InputError(f"{address} has {defects} defects: fix them first")


def _refuse_missing(s3: Service, bucket: str, keys: set[str], prefix: str, report: Callable[[str], None]) -> None:
    there = {entry["Key"] for entry in s3.pages("list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix)}
    missing = sorted(keys - there)
    for key in missing[:_MAX_LISTED]:
        report(f"missing-image: s3://{bucket}/{key} is not there")
    if missing:
        raise InputError(f"{len(missing)} of {len(keys)} images are missing in {bucket}: upload them first")


def _folder_of(keys: set[str]) -> str:
    """Return the common prefix of all keys, up to a slash; it may be empty."""
    first, last = min(keys), max(keys)  # the common prefix of these two is that of all
    shared = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[: first.rfind("/", 0, shared) + 1]


_IN_PROGRESS: Final = frozenset({"CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS"})
_FAILED: Final = frozenset({"CREATE_FAILED", "UPDATE_FAILED"})


@dataclass(frozen=True, slots=True)
class Stored:
    """A dataset in Rekognition.

    Attributes:
        arn: ARN of the dataset.
        entries: number of images.
        labelled: number of images with a label.
        wrong: number of images that Rekognition cannot use.
    """

    arn: str
    entries: int
    labelled: int
    wrong: int

    def __str__(self) -> str:
        wrong = f", {self.wrong} of them unusable for Rekognition" if self.wrong else ""
        return f"{self.entries} images, {self.labelled} with labels{wrong}"


@dataclass(frozen=True, slots=True)
class Import:
    """Creates the datasets of a project, and waits until they are complete.

    Attributes:
        rekognition: client of Rekognition.
        project: project of the datasets.
        report: receives progress messages.
        wait: waits until the next poll.
    """

    rekognition: Service
    project: Project
    report: Callable[[str], None]
    wait: Callable[[], object]

    def existing(self, kind: str) -> Stored | None:
        """Wait until an existing dataset is complete and return it; None if there is none, or it failed."""
        arn, status = self.project.datasets.get(kind, ("", ""))
        return None if not arn or status in _FAILED or status == "DELETE_IN_PROGRESS" else self._wait_for(arn, kind)

    def create(self, kind: str, manifest: StoredManifest | None) -> Stored:
        """Create a dataset that replaces the existing one, if any.

        Args:
            kind: `TRAIN` or `TEST`.
            manifest: content of the dataset; None for an empty one.

        Raises:
            BeeagentError: the dataset cannot be created.
        """
        arn, _ = self.project.datasets.get(kind, ("", ""))
        if arn:
            delete_dataset(self.rekognition, arn, wait=self.wait)
        members: dict[str, Any] = {}
        if manifest is not None:
            place = {"Bucket": manifest.bucket, "Name": manifest.key}
            members = {"DatasetSource": {"GroundTruthManifest": {"S3Object": place}}}
        tags = {PROJECT_TAG: self.project.name}
        made = self.rekognition("create_dataset", ProjectArn=self.project.arn, DatasetType=kind, Tags=tags, **members)
        return self._wait_for(str(made["DatasetArn"]), kind)

    def divide(self, train: Stored, test: Stored) -> tuple[Stored, Stored]:
        """Let Rekognition move a fifth of the images of `train`, drawn at random, into the empty `test`.

        Raises:
            BeeagentError: the images cannot be moved.
        """
        self.rekognition("distribute_dataset_entries", Datasets=[{"Arn": train.arn}, {"Arn": test.arn}])
        return self._wait_for(train.arn, "TRAIN"), self._wait_for(test.arn, "TEST")

    def _wait_for(self, arn: str, kind: str) -> Stored:
        before = ""
        while True:
            description = self.rekognition("describe_dataset", DatasetArn=arn)["DatasetDescription"]
            status = str(description["Status"])
            if status in _FAILED:
                raise BeeagentError(f"the {kind} dataset cannot be created: {description.get('StatusMessage', status)}")
            if status not in _IN_PROGRESS:
                stats = description.get("DatasetStats", {})
                numbers = (int(stats.get(name, 0)) for name in ("TotalEntries", "LabeledEntries", "ErrorEntries"))
                return Stored(arn, *numbers)
            if status != before:
                self.report(f"the {kind} dataset is {status}; this takes minutes")
            before = status
            self.wait()
