"""Calls an Amazon Rekognition Custom Labels model. Needs the extra `rekognition`, which installs boto3."""

import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import boto3
import botocore.session
import numpy as np
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's name
    CredentialRetrievalError,
    HTTPClientError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beeagent.camera import Frame
from beeagent.cloud.guard import CloudDetectionError, FailureReason
from beeagent.cloud.jpeg import encode_jpeg
from beeagent.detection import Detections
from beeagent.errors import InputError

# As `ProjectVersionArn` in botocore's model of Rekognition (2016-06-27).
_ARN = re.compile(
    r"arn:[a-z\d-]+:rekognition:([a-z\d-]+):\d{12}:project/[a-zA-Z0-9_.\-]{1,255}/version/[a-zA-Z0-9_.\-]{1,255}/[0-9]+"
)


_REASON_BY_CODE: Final[dict[str, FailureReason]] = {
    # Of DetectCustomLabels itself.
    # https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectCustomLabels.html
    "AccessDeniedException": "credentials",
    "ImageTooLargeException": "refused",
    "InternalServerError": "timeout",
    "InvalidImageFormatException": "refused",
    "InvalidParameterException": "refused",
    "InvalidS3ObjectException": "refused",
    "LimitExceededException": "throttled",
    "ProvisionedThroughputExceededException": "throttled",
    "ResourceNotFoundException": "refused",
    "ResourceNotReadyException": "model-not-running",
    "ThrottlingException": "throttled",
    # Of every service. https://docs.aws.amazon.com/rekognition/latest/APIReference/CommonErrors.html
    "ExpiredTokenException": "credentials",
    "IncompleteSignature": "credentials",
    "InternalFailure": "timeout",
    "InvalidSignatureException": "credentials",
    "MissingAuthenticationToken": "credentials",
    "MissingAuthenticationTokenException": "credentials",
    "NotAuthorized": "credentials",
    "OptInRequired": "credentials",
    "RequestExpired": "credentials",
    "ServiceUnavailable": "timeout",
    "UnrecognizedClientException": "credentials",
}
# About one image, not about the service.
_IMAGE_ERRORS: Final = frozenset({"ImageTooLargeException", "InvalidImageFormatException"})
_CREDENTIAL_ERRORS: Final = (
    CredentialRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RekognitionOptions:
    """Which cloud model to call, and how.

    Attributes:
        project_version_arn: of the model; it contains the region.
        min_confidence: of the cloud model's detections, 0 to 1; weaker ones are not returned.
        longest_side: of the image that is sent, in pixels.
        quality: of its JPEG, 1 to 100.
        timeout: seconds to connect, and between two parts of the response.
        connections: concurrent calls.
        names: our label for each of the cloud model's; see `parse_response`.
        endpoint_url: used in place of Rekognition's own; None for boto3's default, which honours
            `AWS_ENDPOINT_URL_REKOGNITION`.

    Raises:
        InputError: the ARN is not that of a Custom Labels model version.
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
                "model version, arn:aws:rekognition:REGION:ACCOUNT:project/NAME/version/VERSION/NUMBER"
            )

    @property
    def region(self) -> str:
        """The region of the model."""
        return self.project_version_arn.split(":")[3]


class RekognitionClient:
    """Sends frames to the cloud model. Safe from any thread.

    Credentials come from boto3's default chain: environment, shared files, a container's endpoint such as Greengrass's
    Token Exchange Service, the instance. botocore renews those that expire, minutes before. Each call is one request:
    boto3's own retries are off, as the budget counts calls.
    """

    def __init__(self, options: RekognitionOptions) -> None:
        """Set up; nothing is sent, and no credentials are looked up yet.

        Raises:
            InputError: boto3 cannot be set up, as with a damaged AWS configuration file.
        """
        self._options = options
        # At debug level, botocore logs the headers that it signs, the session token included.
        for name in ("boto3", "botocore", "urllib3"):
            logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger(name).level))
        self._lock = threading.Lock()
        self._client: Any = None
        self._credentials: Any = None
        try:
            self._new_session()
        except (BotoCoreError, ValueError) as error:
            # Only the name: the values that boto3 quotes may be secret.
            raise InputError(
                f"boto3 cannot be set up ({type(error).__name__}): check the AWS configuration files and variables"
            ) from None

    def detect(self, frame: Frame, labels: tuple[str, ...]) -> Detections:
        """Return the cloud model's detections in a frame; blocks until it responds.

        Args:
            frame: sent as a JPEG.
            labels: of the edge model's classes.

        Raises:
            CloudDetectionError: there is no result, and why.
        """
        options = self._options
        client = self._connected_client()
        jpeg = encode_jpeg(frame.pixels, longest_side=options.longest_side, quality=options.quality)
        try:
            response = client.detect_custom_labels(
                ProjectVersionArn=options.project_version_arn,
                Image={"Bytes": jpeg},
                MinConfidence=100 * options.min_confidence,
            )
        except (ClientError, BotoCoreError) as error:
            raise cloud_error(error) from None
        except Exception as error:  # noqa: BLE001 - on malformed responses, botocore's parsers raise anything
            raise CloudDetectionError("refused", f"botocore failed ({type(error).__name__})") from None
        return parse_response(response, labels=labels, names=options.names)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()

    def _connected_client(self) -> Any:  # noqa: ANN401 - boto3 creates its classes at run time
        """Return a client with valid credentials.

        A client renews the credentials that its session found, but never looks for others. So none is created before
        there are some: a device may start before the service that provides them.
        """
        with self._lock:
            try:
                if self._client is None:
                    session = self._new_session()
                    self._credentials = session.get_credentials()
                    if self._credentials is not None:
                        self._client = self._new_client(session)
                if self._client is not None:
                    self._credentials.get_frozen_credentials()  # renews them if necessary
            except Exception as error:  # noqa: BLE001 - providers raise anything, such as RuntimeError
                raise CloudDetectionError(
                    "credentials", f"AWS credentials cannot be loaded or renewed ({type(error).__name__})"
                ) from None
            if self._client is None:
                raise CloudDetectionError("credentials", "there are no AWS credentials")
            return self._client

    def _new_session(self) -> boto3.session.Session:
        core = botocore.session.get_session()
        _ = core.full_config  # parsed here, so that a damaged file is found
        return boto3.session.Session(botocore_session=core)

    def _new_client(self, session: boto3.session.Session) -> Any:  # noqa: ANN401 - boto3 creates its classes at run time
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


def cloud_error(error: ClientError | BotoCoreError) -> CloudDetectionError:
    """Classify an error of boto3.

    The result names the error and the missing permission, but does not quote the service's message: where a signature
    does not match, that contains what was signed, the session token included.
    """
    if isinstance(error, ClientError):
        return _service_error(error.response, error.operation_name)
    name = type(error).__name__
    if isinstance(error, _CREDENTIAL_ERRORS):
        return CloudDetectionError("credentials", f"there are no AWS credentials ({name})")
    if isinstance(error, ConnectionError | HTTPClientError):
        return CloudDetectionError("timeout", f"Rekognition did not respond ({name})")
    return CloudDetectionError("refused", f"the call could not be made, or its response not be read ({name})")


def _service_error(response: Any, operation: str) -> CloudDetectionError:  # noqa: ANN401 - as botocore parsed it
    code = str(response.get("Error", {}).get("Code", ""))[:100]
    meta = response.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 0))
    reason = _REASON_BY_CODE.get(code)
    if reason is None:
        reason = "throttled" if status == 429 else "timeout" if status >= 500 else "refused"
    return CloudDetectionError(
        reason,
        f"Rekognition returned {code or status}"
        + (f": rekognition:{operation} is not permitted" if code == "AccessDeniedException" else ""),
        is_service_failure=code not in _IMAGE_ERRORS,
        retry_after_s=_seconds(meta.get("HTTPHeaders", {}).get("retry-after")),
    )


def _seconds(retry_after: object) -> float | None:
    """Parse the header in seconds; its other form, a date, would need two clocks that agree."""
    text = str(retry_after).strip()
    return float(text) if text.isascii() and text.isdigit() else None


class _Lenient(BaseModel):
    # The service may add members, but those below must be there, and be finite numbers.
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class _BoundingBox(_Lenient):
    left: float = Field(alias="Left")
    top: float = Field(alias="Top")
    width: Annotated[float, Field(alias="Width", ge=0)]
    height: Annotated[float, Field(alias="Height", ge=0)]


class _Geometry(_Lenient):
    box: _BoundingBox | None = Field(default=None, alias="BoundingBox")


class _CustomLabel(_Lenient):
    name: str = Field(alias="Name", min_length=1)
    confidence: Annotated[float, Field(alias="Confidence", ge=0, le=100)]
    geometry: _Geometry | None = Field(default=None, alias="Geometry")


class _Response(_Lenient):
    custom_labels: list[_CustomLabel] = Field(alias="CustomLabels")


def parse_response(response: Any, *, labels: tuple[str, ...], names: Mapping[str, str]) -> Detections:  # noqa: ANN401 - any JSON
    """Return the detections of a response of DetectCustomLabels, strongest first.

    Boxes are clipped to the frame. Labels of the image as a whole, which have no box, are ignored.

    Args:
        response: as parsed from JSON.
        labels: of the edge model's classes; they come first in those of the result.
        names: our label for each label of the cloud model; an empty one omits its detections. Labels that are not in
            it stay as they are.

    Raises:
        CloudDetectionError: the response is malformed.
    """
    try:
        parsed = _Response.model_validate(response)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        message = f"the response is malformed: {where}: {error.errors()[0]['msg']}"
        raise CloudDetectionError("refused", message) from None
    boxed = [
        (names.get(label.name, label.name), label.confidence, label.geometry.box)
        for label in parsed.custom_labels
        if label.geometry is not None and label.geometry.box is not None
    ]
    found = sorted((each for each in boxed if each[0]), key=lambda each: -each[1])
    known = tuple(dict.fromkeys([*labels, *(name for name, _, _ in found)]))
    edges = [[box.left, box.top, box.left + box.width, box.top + box.height] for _, _, box in found]
    return Detections(
        boxes=np.clip(np.array(edges, np.float64).reshape(-1, 4), 0, 1).astype(np.float32),
        confidences=np.array([confidence / 100 for _, confidence, _ in found], np.float32),
        class_ids=np.array([known.index(name) for name, _, _ in found], np.int64),
        labels=known,
    )
