"""Tells what boto3 raises apart, by what it means for the next call. Needs the extra `rekognition`."""

from typing import Any, Final

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

from beeagent.cloud.reason import NoOpinionError, Reason

_BY_CODE: Final[dict[str, Reason]] = {
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
# What is wrong with one picture is not wrong with the next.
_OF_ONE_FRAME: Final = frozenset({"ImageTooLargeException", "InvalidImageFormatException"})
_OUT_OF_CREDENTIALS: Final = (
    CredentialRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)


def failure_of(error: ClientError | BotoCoreError) -> NoOpinionError:
    """Say what an error means.

    Only the error's name is told on, and the right that is missing. The service's own words are not: where a signature
    does not match, they quote what was signed, and with it the session token.
    """
    if isinstance(error, ClientError):
        return _answered(error.response, error.operation_name)
    name = type(error).__name__
    if isinstance(error, _OUT_OF_CREDENTIALS):
        return NoOpinionError("credentials", f"there are no AWS credentials to be had ({name})")
    if isinstance(error, ConnectionError | HTTPClientError):
        return NoOpinionError("timeout", f"Rekognition did not answer ({name})")
    return NoOpinionError("refused", f"the call could not be made, or the answer not be read ({name})")


def _answered(response: Any, operation: str) -> NoOpinionError:  # noqa: ANN401 - whatever botocore made of it
    code = str(response.get("Error", {}).get("Code", ""))[:100]
    meta = response.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 0))
    reason = _BY_CODE.get(code)
    if reason is None:
        reason = "throttled" if status == 429 else "timeout" if status >= 500 else "refused"
    return NoOpinionError(
        reason,
        f"Rekognition answered {code or status}"
        + (f": rekognition:{operation} is not permitted" if code == "AccessDeniedException" else ""),
        strikes=code not in _OF_ONE_FRAME,
        wait_s=_seconds(meta.get("HTTPHeaders", {}).get("retry-after")),
    )


def _seconds(retry_after: object) -> float | None:
    """Read the header in its form of seconds; the other one, a date, needs two clocks that agree."""
    text = str(retry_after).strip()
    return float(text) if text.isascii() and text.isdigit() else None
