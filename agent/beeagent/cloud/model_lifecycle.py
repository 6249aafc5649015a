"""Start and stop of the cloud model, which AWS bills by the hour. Requires the extra `rekognition`."""

import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from beeagent.cloud.rekognition import cloud_error, model_region, setup_errors
from beeagent.errors import BeeagentError

_TIMEOUT_S: Final = 30.0
_MAX_STOP_ATTEMPTS: Final = 20
_NOT_BILLED: Final = frozenset({"STOPPED", "FAILED", "TRAINING_COMPLETED"})


class CloudModel:
    """A version of a Custom Labels model.

    Args:
        project_version_arn: ARN of the model version.

    Raises:
        InputError: the ARN is not that of a Custom Labels model version, or boto3 cannot be set up.
    """

    def __init__(self, project_version_arn: str) -> None:
        region = model_region(project_version_arn)
        _, self._project, _, self._version, _ = project_version_arn.split("/")
        self._arn = project_version_arn
        self._project_arn: str | None = None
        config = Config(connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S)
        with setup_errors():
            self._client: Any = boto3.session.Session().client("rekognition", region_name=region, config=config)

    def state(self) -> str:
        """Return the `Status` of the model version, such as `RUNNING` or `STOPPED`.

        Raises:
            BeeagentError: the service does not return it.
        """
        if self._project_arn is None:
            # The number at the end of a version's ARN is not that of its project, which only the service knows.
            projects = self._call(self._client.describe_projects, ProjectNames=[self._project])["ProjectDescriptions"]
            if not projects:
                raise BeeagentError(f"Rekognition has no project {self._project}: check the ARN, account and region")
            self._project_arn = str(projects[0]["ProjectArn"])
        versions = self._call(
            self._client.describe_project_versions, ProjectArn=self._project_arn, VersionNames=[self._version]
        )["ProjectVersionDescriptions"]
        for version in versions:
            if version.get("ProjectVersionArn") == self._arn:
                return str(version["Status"])
        raise BeeagentError(f"Rekognition has no version {self._version} of project {self._project}: check the ARN")

    def start(self, units: int) -> None:
        """Request the start of the model, which takes minutes.

        Args:
            units: number of inference units, 1 or more; each is billed by the hour.

        Raises:
            BeeagentError: the service rejects the request.
        """
        self._call(self._client.start_project_version, ProjectVersionArn=self._arn, MinInferenceUnits=units)

    def stop(self) -> None:
        """Request the stop of the model, which takes minutes.

        Raises:
            BeeagentError: the service rejects the request.
        """
        self._call(self._client.stop_project_version, ProjectVersionArn=self._arn)

    def _call(self, operation: Callable[..., Any], **members: object) -> Any:  # noqa: ANN401 - boto3 is untyped
        try:
            return operation(**members)
        except (ClientError, BotoCoreError) as error:
            raise BeeagentError(str(cloud_error(error))) from None


@dataclass(frozen=True, slots=True)
class ModelLifecycle:
    """Starts or stops a model, waits for completion, and reports the progress.

    Attributes:
        model: the model.
        report: called with each line, without line break.
        interrupted: event set when the user interrupts, as by Ctrl-C.
        poll_interval_s: seconds between two queries of the model's state.
    """

    model: CloudModel
    _: KW_ONLY
    report: Callable[[str], None]
    interrupted: threading.Event
    poll_interval_s: float = 10.0

    def start(self, units: int) -> None:
        """Start the model unless it is running, and wait until it is running or `interrupted` is set.

        Raises:
            BeeagentError: the model does not start.
        """
        if self.model.state() not in {"RUNNING", "STARTING"}:
            self.model.start(units)
        started, before = time.monotonic(), ""
        while (state := self.model.state()) != "RUNNING":
            # Right after the request, the service may still return the previous state.
            if state == "FAILED" or (state in _NOT_BILLED and before == "STARTING"):
                raise BeeagentError(
                    f"the cloud model is {state} and does not start: see the AWS console for the reason"
                )
            if state != before:
                self.report(f"it is {state}; this takes minutes")
            before = state
            if self.interrupted.wait(self.poll_interval_s):
                return
        self.report(f"it is RUNNING, after {time.monotonic() - started:.0f} s")

    def wait(self, seconds: float) -> None:
        """Wait for a time, or until `interrupted` is set or the model is no longer running."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self.interrupted.wait(min(left, self.poll_interval_s)):
            try:
                state = self.model.state()
            except BeeagentError as error:  # not fatal: only the final stop matters
                self.report(f"its state is not available: {error}")
                continue
            if state == "STOPPING" or state in _NOT_BILLED:
                self.report(f"it is {state}: somebody else has stopped it")
                return

    def stop(self) -> None:
        """Stop the model, even while it is starting, and wait until it is stopped, even if `interrupted` is set.

        Raises:
            BeeagentError: the model may still be running.
        """
        pause = threading.Event()  # never set: an interruption must not end the wait
        before, failures = "", 0
        while True:
            try:
                state = self.model.state()
                if state in _NOT_BILLED:
                    self.report("it is stopped, and costs no more")
                    return
                if state == "RUNNING":
                    self.model.stop()
            except BeeagentError as error:
                failures += 1
                if failures >= _MAX_STOP_ATTEMPTS:
                    raise BeeagentError(
                        f"THE CLOUD MODEL MAY STILL RUN AND COST MONEY: {error}; stop it in the AWS console"
                    ) from None
                self.report(f"it cannot be stopped yet: {error}")
            else:
                failures = 0
                if state != before:
                    self.report(f"it is {state}, and is being stopped")
                before = state
            pause.wait(self.poll_interval_s)
