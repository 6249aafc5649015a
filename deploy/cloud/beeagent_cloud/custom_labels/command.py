"""`beeagent rekognition create|import|train|metrics`: the steps of each command."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from beeagent.errors import BeeagentError, InputError

from beeagent_cloud.aws import Service, bucket_region, split_s3_address
from beeagent_cloud.custom_labels.bucket_access import permit
from beeagent_cloud.custom_labels.importing import Import, Stored, StoredManifest, read_stored_manifest
from beeagent_cloud.custom_labels.training import (
    HOURLY_PRICE,
    Project,
    Version,
    begin,
    billed_hours,
    create_project,
    follow,
    known_project,
    named,
    new_name,
    read_summary,
    table,
    versions,
)

_RUNNING_HOURLY_PRICE: Final = 4.0  # https://aws.amazon.com/rekognition/pricing/


class Steps:
    """The steps to a trained model; each is idempotent.

    Args:
        region: AWS region; None for the region of the AWS configuration.
        report: receives progress messages.
        confirm: asks for confirmation; returns whether the user confirmed.
        poll_interval: seconds between two polls of a long operation.
        leaving: set to stop waiting.

    Raises:
        InputError: there is no region, or the AWS configuration is invalid.
    """

    def __init__(
        self,
        *,
        region: str | None,
        report: Callable[[str], None],
        confirm: Callable[[str], bool],
        poll_interval: float,
        leaving: threading.Event,
    ) -> None:
        self._rekognition = Service("rekognition", region=region)
        self._s3 = Service("s3", region=self._rekognition.region)
        self._report = report
        self._confirm = confirm
        self._poll_interval = poll_interval
        self._leaving = leaving

    def create(self, name: str) -> None:
        """Create a project.

        Raises:
            BeeagentError: a request failed.
        """
        arn, new = create_project(self._rekognition, name)
        self._report(f"{'created' if new else 'already exists:'} {arn}")
        self._report(
            f"A project costs nothing. A training costs about ${HOURLY_PRICE:.2f} an hour, a running model about "
            f"${_RUNNING_HOURLY_PRICE:.2f}."
        )

    def import_(self, name: str, manifest: str, *, test: str | None, replace: bool) -> None:
        """Import the datasets of a project.

        Args:
            name: name of the project.
            manifest: manifest of the training images, `s3://BUCKET/KEY`.
            test: manifest of the test images; None to use a fifth of the training images.
            replace: whether to replace existing datasets.

        Raises:
            BeeagentError: a request failed, or the user did not confirm.
        """
        project = known_project(self._rekognition, name)
        importing = Import(self._rekognition, project, self._report, self._wait)
        existing: dict[str, Stored | None] = {"TRAIN": None, "TEST": None}
        if not replace:
            existing = {kind: importing.existing(kind) for kind in existing}
            for kind, stored in existing.items():
                if stored is not None:
                    self._report(f"a {kind} dataset already exists and is kept without --replace: {stored}")
        if existing["TRAIN"] is not None and existing["TEST"] is not None and existing["TEST"].entries:
            return
        if existing["TRAIN"] is None and existing["TEST"] is not None and existing["TEST"].entries and test is None:
            raise InputError(
                f"the project {name} has test images, which may be among the training images: use --test as "
                "well, or --replace"
            )
        train, tests = self._read(manifest), None if test is None else self._read(test)
        self._permit_reading([train] if tests is None else [train, tests])
        self._report("An import costs only the requests that read the images.")
        made = existing["TRAIN"] or importing.create("TRAIN", train)
        empty = existing["TEST"] is not None and not existing["TEST"].entries
        to_test = importing.create("TEST", tests) if existing["TEST"] is None or (empty and tests) else existing["TEST"]
        if not to_test.entries:
            made, to_test = importing.divide(made, to_test)
            self._report(
                "A fifth of the images was drawn at random for the test; images of one series may be in both parts."
            )
        self._report(f"training: {made}")
        self._report(f"test: {to_test}")

    def train(self, name: str, *, version: str | None, output: str) -> None:
        """Train a model and wait until it is trained, or until the user stops waiting.

        Args:
            name: name of the project.
            version: name of the model; None for the one in training, or a new one if there is none.
            output: destination of the training results, `s3://BUCKET/PREFIX`.

        Raises:
            BeeagentError: the training failed, or the user did not confirm.
        """
        project = known_project(self._rekognition, name)
        known = versions(self._rekognition, project.arn)
        if version is None:
            version = next((each.name for each in known if each.status == "TRAINING_IN_PROGRESS"), None)
        existing = next((each for each in known if each.name == version), None)
        if existing is None:
            version = version or new_name(project, datetime.now(timezone.utc))
            self._begin(project, version, output)
        else:
            self._report(f"{existing.name} is {existing.status}; no training is started")
        assert version is not None  # noqa: S101 - for the type checker; set above
        trained = follow(self._rekognition, project, version, report=self._report, wait=self._left)
        if trained is None:
            self._report(
                f"The training of {version} continues and is billed; to follow it: beeagent rekognition train {name} "
                f"--version {version} --output {output}"
            )
            return
        hours = billed_hours(trained)
        cost = "" if hours is None else f", {hours:.1f} h billed, about ${hours * HOURLY_PRICE:.2f}"
        self._report(f"{version} is trained{cost}: {trained.arn}")
        self._show(trained)

    def metrics(self, name: str, *, version: str | None) -> None:
        """Show the metrics of a model, as measured by Rekognition on the test set.

        Args:
            name: name of the project.
            version: name of the model; None for the newest trained one.

        Raises:
            BeeagentError: there is no such model.
        """
        project = known_project(self._rekognition, name)
        if version is None:
            found = next((each for each in versions(self._rekognition, project.arn) if each.trained), None)
            if found is None:
                raise InputError(
                    f"the project {name} has no trained model: beeagent rekognition train {name} trains one"
                )
        else:
            found = named(self._rekognition, project, version)
            if found is None:
                raise InputError(f"the project {name} has no model {version}: omit --version for the newest")
        self._report(f"{found.arn} is {found.status}")
        self._show(found)

    def _read(self, address: str) -> StoredManifest:
        self._check_region(split_s3_address(address)[0])
        with tempfile.TemporaryDirectory() as folder:
            manifest = read_stored_manifest(self._s3, address, folder=Path(folder), report=self._report)
        for bucket in manifest.prefixes:
            self._check_region(bucket)
        self._report(f"{address}: {manifest}")
        return manifest

    def _check_region(self, bucket: str) -> None:
        where = bucket_region(bucket, near=self._s3.region)
        if where != self._rekognition.region:
            raise InputError(
                f"the bucket {bucket} is in {where}, and the project in {self._rekognition.region}: both have to be in "
                "one region"
            )

    def _permit_reading(self, manifests: Sequence[StoredManifest]) -> None:
        reads: dict[str, dict[str, None]] = {}
        for manifest in manifests:
            reads.setdefault(manifest.bucket, {})[manifest.key] = None
            for bucket, prefix in manifest.prefixes.items():
                reads.setdefault(bucket, {})[prefix] = None
        for bucket, prefixes in reads.items():
            permit(self._s3, bucket, reads=list(prefixes), confirm=self._confirm)

    def _begin(self, project: Project, version: str, output: str) -> None:
        if set(project.datasets) != {"TRAIN", "TEST"}:
            raise InputError(f"the project {project.name} lacks a dataset: `beeagent rekognition import` creates both")
        bucket, prefix = split_s3_address(output)
        self._check_region(bucket)
        self._report(
            f"A training takes from half an hour to a day and costs about ${HOURLY_PRICE:.2f} an hour, more where "
            "Rekognition trains on several machines at a time. It cannot be stopped."
        )
        if not self._confirm(f"Train {version}?"):
            raise BeeagentError("no training was started")
        permit(self._s3, bucket, writes=f"{prefix.rstrip('/')}/" if prefix else "", confirm=self._confirm)
        begin(self._rekognition, project, version, bucket=bucket, prefix=prefix)

    def _show(self, version: Version) -> None:
        self._report(table(read_summary(self._s3, version)))
        self._report("Measured by Rekognition on the project's test set, at thresholds that it chose there.")

    def _wait(self) -> None:
        if self._leaving.wait(self._poll_interval):
            raise BeeagentError("interrupted; the operation continues, and the same command waits for it again")

    def _left(self) -> bool:
        return self._leaving.wait(self._poll_interval)
