"""The client of an Amazon Rekognition Custom Labels model. Requires the extra `rekognition`, which installs boto3."""

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import boto3
import botocore.session
import numpy as np
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beeagent.camera import Frame, encode_jpeg
from beeagent.cloud.guard import CloudDetectionError, FailureReason
from beeagent.detection import Detections
from beeagent.errors import InputError, validation_problems
from beeagent.settings import RekognitionSettings

# The pattern of `ProjectVersionArn` in botocore's model of Rekognition (2016-06-27).
_ARN = re.compile(
    r"arn:[a-z\d-]+:rekognition:([a-z\d-]+):\d{12}:project/[a-zA-Z0-9_.\-]{1,255}/version/[a-zA-Z0-9_.\-]{1,255}/[0-9]+"
)


# Error codes of DetectCustomLabels, https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectCustomLabels.html,
# and of all services, https://docs.aws.amazon.com/rekognition/latest/APIReference/CommonErrors.html
_CODES: Final[dict[FailureReason, str]] = {
    "credentials": "AccessDeniedException ExpiredTokenException IncompleteSignature InvalidSignatureException "
    "MissingAuthenticationToken MissingAuthenticationTokenException NotAuthorized OptInRequired RequestExpired "
    "UnrecognizedClientException",
    "model-not-running": "ResourceNotReadyException",
    "refused": "ImageTooLargeException InvalidImageFormatException InvalidParameterException InvalidS3ObjectException "
    "ResourceNotFoundException",
    "throttled": "LimitExceededException ProvisionedThroughputExceededException ThrottlingException",
    "timeout": "InternalFailure InternalServerError ServiceUnavailable",
}
_REASON_BY_CODE: Final = {code: reason for reason, codes in _CODES.items() for code in codes.split()}
# Errors of one image, not of the service.
_IMAGE_ERRORS: Final = frozenset({"ImageTooLargeException", "InvalidImageFormatException"})
_CREDENTIAL_ERRORS: Final = (
    exceptions.CredentialRetrievalError, exceptions.NoAuthTokenError, exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError, exceptions.TokenRetrievalError,
)  # fmt: skip


class RekognitionClient:
    """Sends frames to the cloud model. Thread-safe.

    Credentials are from boto3's default chain: environment, shared files, a container's endpoint such as Greengrass's
    Token Exchange Service, the instance. botocore renews expiring ones minutes before. Each call is one request:
    boto3's retries are disabled, since the budget counts calls.
    """

    def __init__(self, settings: RekognitionSettings, *, endpoint_url: str | None = None) -> None:
        """Prepare the client, without a request or a search for credentials.

        Args:
            settings: the cloud model and the options of its calls.
            endpoint_url: endpoint in place of Rekognition's; None for boto3's default, which uses
                `AWS_ENDPOINT_URL_REKOGNITION`.

        Raises:
            InputError: the ARN is not that of a Custom Labels model version, or boto3 cannot be set up, for example
                because of a damaged AWS configuration file.
        """
        self._settings = settings
        self._region = model_region(settings.project_version_arn or "")
        self._endpoint_url = endpoint_url
        # At debug level, botocore logs the signed headers, including the session token.
        for name in ("boto3", "botocore", "urllib3"):
            logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger(name).level))
        self._lock = threading.Lock()
        self._client: Any = None
        self._credentials: Any = None
        with setup_errors():
            self._new_session()

    def detect(self, frame: Frame, labels: tuple[str, ...]) -> Detections:
        """Return the cloud model's detections in a frame; blocks until it responds.

        Args:
            frame: frame, which is sent as a JPEG.
            labels: labels of the edge model's classes.

        Raises:
            CloudDetectionError: there is no result.
        """
        settings = self._settings
        client = self._connected_client()
        jpeg = encode_jpeg(frame.pixels, longest_side=settings.longest_side, quality=settings.jpeg_quality)
        try:
            response = client.detect_custom_labels(
                ProjectVersionArn=settings.project_version_arn,
                Image={"Bytes": jpeg},
                MinConfidence=100 * settings.min_confidence,
            )
        except (ClientError, BotoCoreError) as error:
            raise cloud_error(error) from None
        except Exception as error:  # noqa: BLE001 - botocore's parsers raise various exceptions
            raise CloudDetectionError("refused", f"botocore failed ({type(error).__name__})") from None
        return parse_response(response, labels=labels, names=settings.labels)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()

    def _connected_client(self) -> Any:  # noqa: ANN401 - boto3 creates its classes at run time
        """Return a client with valid credentials.

        A client renews the credentials of its session, but never searches for others. So it is created only when there
        are credentials: a device may start before the service that provides them.
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
            except Exception as error:  # noqa: BLE001 - providers raise various exceptions, such as RuntimeError
                raise CloudDetectionError(
                    "credentials", f"AWS credentials cannot be loaded or renewed ({type(error).__name__})"
                ) from None
            if self._client is None:
                raise CloudDetectionError("credentials", "there are no AWS credentials")
            return self._client

    def _new_session(self) -> boto3.session.Session:
        core = botocore.session.get_session()
        _ = core.full_config  # parses it, to detect a damaged file
        return boto3.session.Session(botocore_session=core)

    def _new_client(self, session: boto3.session.Session) -> Any:  # noqa: ANN401 - boto3 creates its classes at run time
        timeout = self._settings.timeout
        config = Config(
            connect_timeout=timeout,
            read_timeout=timeout,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=self._settings.workers,
        )
        return session.client("rekognition", region_name=self._region, endpoint_url=self._endpoint_url, config=config)


def model_region(project_version_arn: str) -> str:
    """Return the region in the ARN of a Custom Labels model version.

    Raises:
        InputError: the text is not such an ARN.
    """
    match = _ARN.fullmatch(project_version_arn)
    if match is None:
        raise InputError(
            f"rekognition_project_version_arn is {project_version_arn!r}: give the ARN of a Custom Labels "
            "model version, arn:aws:rekognition:REGION:ACCOUNT:project/NAME/version/VERSION/NUMBER"
        )
    return match[1]


@contextmanager
def setup_errors() -> Iterator[None]:
    """Convert errors of boto3's setup to InputError, without their messages, which may contain secrets."""
    try:
        yield
    except (BotoCoreError, ValueError) as error:
        raise InputError(
            f"boto3 cannot be set up ({type(error).__name__}): check the AWS configuration files and variables"
        ) from None


def cloud_error(error: ClientError | BotoCoreError) -> CloudDetectionError:
    """Classify an error of boto3.

    The result contains the name of the error and the missing permission, but not the service's message: if a signature
    does not match, that contains the signed data, including the session token.
    """
    if isinstance(error, ClientError):
        return _service_error(error.response, error.operation_name)
    name = type(error).__name__
    if isinstance(error, _CREDENTIAL_ERRORS):
        return CloudDetectionError("credentials", f"there are no AWS credentials ({name})")
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        return CloudDetectionError("timeout", f"Rekognition did not respond ({name})")
    return CloudDetectionError("refused", f"the call could not be made, or its response not be read ({name})")


def _service_error(response: Any, operation: str) -> CloudDetectionError:  # noqa: ANN401 - botocore is untyped
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
    """Parse a Retry-After header in seconds; a date is ignored, since it would require synchronised clocks."""
    text = str(retry_after).strip()
    return float(text) if text.isascii() and text.isdigit() else None


class _Lenient(BaseModel):
    # The service may add members, but the following are required, and numbers must be finite.
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class _BoundingBox(_Lenient):
    left: float = Field(alias="Left")
    top: float = Field(alias="Top")
    width: float = Field(alias="Width", ge=0)
    height: float = Field(alias="Height", ge=0)


class _Geometry(_Lenient):
    box: _BoundingBox | None = Field(default=None, alias="BoundingBox")


class _CustomLabel(_Lenient):
    name: str = Field(alias="Name", min_length=1)
    confidence: float = Field(alias="Confidence", ge=0, le=100)
    geometry: _Geometry | None = Field(default=None, alias="Geometry")


class _Response(_Lenient):
    custom_labels: list[_CustomLabel] = Field(alias="CustomLabels")


def parse_response(response: Any, *, labels: tuple[str, ...], names: Mapping[str, str]) -> Detections:  # noqa: ANN401 - any JSON
    """Return the detections in a response of DetectCustomLabels, by descending confidence.

    Boxes are clipped to the frame. Labels of the whole image, which have no box, are ignored.

    Args:
        response: response, parsed from JSON.
        labels: labels of the edge model's classes, which are the first labels of the result.
        names: mapping from labels of the cloud model to labels of the result; an empty label omits its detections.
            Labels that are not in the mapping are unchanged.

    Raises:
        CloudDetectionError: the response is malformed.
    """
    try:
        parsed = _Response.model_validate(response)
    except ValidationError as error:
        raise CloudDetectionError("refused", f"the response is malformed: {validation_problems(error)[0]}") from None
    boxed = [
        (names.get(label.name, label.name), label.confidence, label.geometry.box)
        for label in parsed.custom_labels
        if label.geometry is not None and label.geometry.box is not None
    ]
    objects = sorted((entry for entry in boxed if entry[0]), key=lambda entry: -entry[1])
    known = tuple(dict.fromkeys([*labels, *(name for name, _, _ in objects)]))
    edges = [[box.left, box.top, box.left + box.width, box.top + box.height] for _, _, box in objects]
    return Detections(
        boxes=np.clip(np.array(edges, np.float64).reshape(-1, 4), 0, 1).astype(np.float32),
        confidences=np.array([confidence / 100 for _, confidence, _ in objects], np.float32),
        class_ids=np.array([known.index(name) for name, _, _ in objects], np.int64),
        labels=known,
    )
