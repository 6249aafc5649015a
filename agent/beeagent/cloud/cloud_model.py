"""The life of a Custom Labels model: whether it runs, which costs by the hour. Needs the extra `rekognition`."""

from collections.abc import Callable
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from beeagent.cloud.failure import failure_of
from beeagent.cloud.rekognition import RekognitionOptions
from beeagent.errors import BeeagentError, InputError

_TIMEOUT_S: Final = 30.0


class CloudModel:
    """Asks after a model, starts it and stops it.

    Args:
        project_version_arn: of the model.

    Raises:
        InputError: the ARN is none of a Custom Labels model, or boto3 cannot be set up.
    """

    def __init__(self, project_version_arn: str) -> None:
        region = RekognitionOptions(project_version_arn=project_version_arn).region
        _, self._project, _, self._version, _ = project_version_arn.split("/")
        self._arn = project_version_arn
        self._project_arn: str | None = None
        try:
            self._client: Any = boto3.session.Session().client(
                "rekognition",
                region_name=region,
                config=Config(connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S),
            )
        except (BotoCoreError, ValueError) as error:
            raise InputError(
                f"boto3 cannot be set up ({type(error).__name__}): check the AWS configuration files and variables"
            ) from None

    def state(self) -> str:
        """Give its `Status`, such as `RUNNING` or `STOPPED`.

        Raises:
            BeeagentError: that cannot be had.
        """
        if self._project_arn is None:
            # The number at the end of a version's ARN is not that of its project, which only the service knows.
            projects = self._ask(self._client.describe_projects, ProjectNames=[self._project])["ProjectDescriptions"]
            if not projects:
                raise BeeagentError(f"Rekognition knows no project {self._project}: check the ARN, account and region")
            self._project_arn = str(projects[0]["ProjectArn"])
        versions = self._ask(
            self._client.describe_project_versions, ProjectArn=self._project_arn, VersionNames=[self._version]
        )["ProjectVersionDescriptions"]
        for version in versions:
            if version.get("ProjectVersionArn") == self._arn:
                return str(version["Status"])
        raise BeeagentError(f"Rekognition knows no version {self._version} of project {self._project}: check the ARN")

    def start(self, units: int) -> None:
        """Have it started, which takes minutes.

        Args:
            units: inference units, 1 or more; each costs by the hour.

        Raises:
            BeeagentError: it is not taken.
        """
        self._ask(self._client.start_project_version, ProjectVersionArn=self._arn, MinInferenceUnits=units)

    def stop(self) -> None:
        """Have it stopped, which takes minutes.

        Raises:
            BeeagentError: it is not taken.
        """
        self._ask(self._client.stop_project_version, ProjectVersionArn=self._arn)

    def _ask(self, operation: Callable[..., Any], **members: object) -> Any:  # noqa: ANN401 - boto3's own
        try:
            return operation(**members)
        except (ClientError, BotoCoreError) as error:
            raise BeeagentError(str(failure_of(error))) from None
