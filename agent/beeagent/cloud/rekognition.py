"""Asks an Amazon Rekognition Custom Labels model. Needs the extra `rekognition`, which brings boto3."""

import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from beeagent.camera import Frame
from beeagent.cloud.answer import detections_of
from beeagent.cloud.failure import failure_of
from beeagent.cloud.jpeg import jpeg_within
from beeagent.cloud.reason import NoOpinionError
from beeagent.detection.detections import Detections
from beeagent.errors import InputError

# As `ProjectVersionArn` in botocore's model of Rekognition (2016-06-27).
_ARN = re.compile(
    r"arn:[a-z\d-]+:rekognition:([a-z\d-]+):\d{12}:project/[a-zA-Z0-9_.\-]{1,255}/version/[a-zA-Z0-9_.\-]{1,255}/[0-9]+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RekognitionOptions:
    """Which cloud model to ask, and how.

    Attributes:
        project_version_arn: of the model. Its region is the one that is asked.
        min_confidence: of the cloud model's detections, 0 to 1; it gives those above.
        longest_side: of the picture that is sent, in pixels.
        quality: of its JPEG, 1 to 100.
        timeout: seconds to connect within, and between two pieces of the answer.
        connections: calls at the same time.
        names: which name of the cloud model is which of ours; see `detections_of`.
        endpoint_url: where to ask in place of Rekognition itself; None for AWS's own choice, which heeds
            `AWS_ENDPOINT_URL_REKOGNITION`.

    Raises:
        InputError: the ARN is none of a Custom Labels model.
    """

    project_version_arn: str
    min_confidence: float = 0.5
    longest_side: int = 1280
    quality: int = 85
    timeout: float = 5.0
    connections: int = 2
    names: Mapping[str, str] = field(default_factory=dict)
    endpoint_url: str | None = None

    def __post_init__(self) -> None:
        if not _ARN.fullmatch(self.project_version_arn):
            raise InputError(
                f"rekognition_project_version_arn is {self.project_version_arn!r}: give the ARN of a Custom Labels "
                "model's version, arn:aws:rekognition:REGION:ACCOUNT:project/NAME/version/VERSION/NUMBER"
            )

    @property
    def region(self) -> str:
        """The region of the model."""
        return self.project_version_arn.split(":")[3]


class RekognitionClient:
    """Shows frames to the cloud model. Safe from any thread.

    Credentials come by boto3's default chain: environment, shared files, a container's endpoint such as Greengrass's
    Token Exchange Service, the instance. Those that expire are renewed by botocore, minutes before. Each call is one
    request and no more: boto3's own retries are off, for whoever asks counts calls.
    """

    def __init__(self, options: RekognitionOptions) -> None:
        """Get ready; nothing is sent, and credentials are not yet looked for.

        Raises:
            InputError: boto3 cannot be set up, as with a damaged AWS configuration file.
        """
        self._options = options
        # At its debug level, botocore writes the headers that it signs, session token and all.
        for name in ("boto3", "botocore", "urllib3"):
            logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger(name).level))
        self._lock = threading.Lock()
        self._kept: Any = None
        self._credentials: Any = None
        try:
            self._new_session()
        except (BotoCoreError, ValueError) as error:
            # A name is enough: the values that boto3 quotes may be secret.
            raise InputError(
                f"boto3 cannot be set up ({type(error).__name__}): check the AWS configuration files and variables"
            ) from None

    def look(self, frame: Frame, labels: tuple[str, ...]) -> Detections:
        """Ask for what is in a frame, and wait for the answer.

        Args:
            frame: is sent as a JPEG.
            labels: the names of the edge model's classes.

        Raises:
            NoOpinionError: there is no answer, and why.
        """
        options = self._options
        client = self._client()
        jpeg = jpeg_within(frame.pixels, longest_side=options.longest_side, quality=options.quality)
        try:
            answer = client.detect_custom_labels(
                ProjectVersionArn=options.project_version_arn,
                Image={"Bytes": jpeg},
                MinConfidence=100 * options.min_confidence,
            )
        except (ClientError, BotoCoreError) as error:
            raise failure_of(error) from None
        except Exception as error:  # noqa: BLE001 - on garbled answers, botocore's parsers raise whatever they trip over
            raise NoOpinionError("refused", f"botocore could not cope ({type(error).__name__})") from None
        return detections_of(answer, labels=labels, names=options.names)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._kept is not None:
                self._kept.close()

    def _client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
        """Give a client whose credentials are good now.

        A client keeps the credentials that its session found, and renews those, but never looks elsewhere. So none
        is made before there are some: a device may start before what provides them.
        """
        with self._lock:
            try:
                if self._kept is None:
                    session = self._new_session()
                    self._credentials = session.get_credentials()
                    if self._credentials is not None:
                        self._kept = self._new_client(session)
                if self._kept is not None:
                    self._credentials.get_frozen_credentials()  # renews them if need be
            except Exception as error:  # noqa: BLE001 - providers raise whatever they trip over, such as RuntimeError
                raise NoOpinionError(
                    "credentials", f"AWS credentials cannot be had or renewed ({type(error).__name__})"
                ) from None
            if self._kept is None:
                raise NoOpinionError("credentials", "there are no AWS credentials")
            return self._kept

    def _new_session(self) -> boto3.session.Session:
        core = botocore.session.get_session()
        _ = core.full_config  # read here, for a damaged file to be found
        return boto3.session.Session(botocore_session=core)

    def _new_client(self, session: boto3.session.Session) -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
        options = self._options
        return session.client(
            "rekognition",
            region_name=options.region,
            endpoint_url=options.endpoint_url,
            config=Config(
                connect_timeout=options.timeout,
                read_timeout=options.timeout,
                retries={"total_max_attempts": 1, "mode": "standard"},
                max_pool_connections=options.connections,
            ),
        )
