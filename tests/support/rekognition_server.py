"""A fake Amazon Rekognition server: its wire format on a local port, checked against botocore's own model.

It responds to DetectCustomLabels, and to other operations that a test puts into `control`; checks each request as the
service does (target, content type, signature, members, limits), and refuses what the service would refuse. Its own
responses are checked too: one that the service model does not allow is a mistake of the test.
"""

import base64
import binascii
import json
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import OperationModel, Shape
from botocore.validate import ParamValidator
from typing_extensions import Self

from support.botocore_models import service_model

PROJECT_VERSION_ARN: Final = (
    "arn:aws:rekognition:eu-west-1:123456789012:project/bees/version/bees.2026-05-04T10.21.07/1777890067123"
)
ACCESS_KEY: Final = "AKIDFORTESTS"
SECRET_KEY: Final = "a-secret-that-no-log-may-show"  # noqa: S105 - opens nothing

ARTICLE_ANSWER: Final[list[dict[str, Any]]] = [
    {
        "Name": "bee",
        "Confidence": 99.9679946899414,
        "Geometry": {"BoundingBox": {"Width": 0.17472, "Height": 0.23268, "Left": 0.34908, "Top": 0.36126}},
    }
]
"""Response of a real model, as printed in the reference article."""

_CONTENT_TYPE: Final = "application/x-amz-json-1.1"
# https://docs.aws.amazon.com/rekognition/latest/customlabels-dg/limits.html
_MAX_STORED_BYTES: Final = 15 * 1024 * 1024
_SERVER_FAULTS: Final = frozenset({"InternalServerError", "ServiceUnavailable", "InternalFailure"})
# Errors of every AWS operation, and so not in the model of this one.
# https://docs.aws.amazon.com/rekognition/latest/APIReference/CommonErrors.html
_COMMON_FAULTS: Final = frozenset(
    {
        "ExpiredTokenException", "IncompleteSignature", "InternalFailure", "InvalidSignatureException",
        "MissingAuthenticationToken", "NotAuthorized", "OptInRequired", "RequestExpired", "ServiceUnavailable",
        "UnrecognizedClientException", "ValidationException",
    }
)  # fmt: skip


def operation() -> OperationModel:
    """Return botocore's model of DetectCustomLabels."""
    return service_model("rekognition").operation_model("DetectCustomLabels")


def error_codes() -> list[str]:
    """Return all errors of DetectCustomLabels in its model."""
    return [shape.name for shape in operation().error_shapes]


@dataclass(frozen=True)
class Labels:
    """A successful response: the members of `CustomLabels`."""

    labels: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Fault:
    """An error of the service."""

    code: str
    message: str = "sent by the test"
    retry_after: str | None = None


@dataclass(frozen=True)
class Rubbish:
    """Bytes that are no valid response, with the headers of one."""

    body: bytes
    status: int = 200


@dataclass(frozen=True)
class Reset:
    """The connection is reset after the request was read; with `midway`, part of a response is sent first."""

    midway: bool = False


@dataclass(frozen=True)
class Hold:
    """The response is sent once `let_go` is set; with `drip`, single bytes are sent before that."""

    then: Labels | Fault = field(default_factory=Labels)
    let_go: threading.Event = field(default_factory=threading.Event)
    drip: bool = False


Answer = Labels | Fault | Rubbish | Reset | Hold


@dataclass(frozen=True)
class Request:
    """A valid request.

    Attributes:
        image: the image's bytes, decoded, or read from `s3_object`.
        parameters: the other members.
        access_key: access key of the signature.
        s3_object: location of the image, if it is not in the request.
    """

    image: bytes
    parameters: Mapping[str, Any]
    access_key: str
    s3_object: Mapping[str, str] | None = None


class _RefusedError(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class RekognitionServer:
    """Responds on 127.0.0.1, to each request with the next response that `will` set, else with `answer`.

    Args:
        secret_of: returns the secret of an access key and session token, to check signatures; None for
            `UnrecognizedClientException`.
        refusal_of: returns the error code for an access key, such as `ExpiredTokenException`; None to accept it.
        object_of: returns the image for the members of `S3Object` in a request; None if there is none.
    """

    def __init__(
        self,
        *,
        secret_of: Callable[[str, str | None], str | None] = lambda key, _: SECRET_KEY if key == ACCESS_KEY else None,
        refusal_of: Callable[[str], str | None] = lambda _: None,
        object_of: Callable[[Mapping[str, str]], bytes | None] = lambda _: None,
    ) -> None:
        self.answer: Answer = Labels(ARTICLE_ANSWER)
        self.requests: list[Request] = []
        self.refused: list[Fault] = []
        self.control: dict[str, Callable[[Mapping[str, Any]], dict[str, Any] | Fault]] = {}
        self.mistakes: list[str] = []
        self._secret_of = secret_of
        self._refusal_of = refusal_of
        self._object_of = object_of
        self._operation = operation()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._next: deque[Answer] = deque()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that disconnected

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def will(self, *answers: Answer) -> None:
        """Set the responses to the next requests."""
        self._next.extend(answers)

    def wait_for_requests(self, count: int, timeout: float = 20.0) -> None:
        """Wait for that number of valid requests."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, timeout), self.requests

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        assert not self.mistakes, self.mistakes

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        name = handler.headers.get("X-Amz-Target", "").rpartition(".")[2]
        try:
            if name in self.control:
                self._respond_to_control(handler, name, body)
                return
            request = self._read(handler, body)
        except _RefusedError as error:
            self.refused.append(error.fault)
            self._respond(handler, error.fault)
            return
        with self._changed:
            self.requests.append(request)
            answer = self._next.popleft() if self._next else self.answer
            self._changed.notify_all()
        self._respond(handler, answer)

    def _respond_to_control(self, handler: BaseHTTPRequestHandler, name: str, body: bytes) -> None:
        """Respond to another operation as `control` says; request and response are checked against its model."""
        model = service_model("rekognition").operation_model(name)
        self._check_signature(handler, body)
        members = json.loads(body)
        report = ParamValidator().validate(members, model.input_shape)
        if report.has_errors() or set(members) - set(model.input_shape.members):
            raise _RefusedError(Fault("InvalidParameterException", report.generate_report()))
        for key, value in members.items():
            pattern = model.input_shape.members[key].metadata.get("pattern", "")
            if isinstance(value, str) and not re.search(pattern, value):
                raise _RefusedError(Fault("InvalidParameterException", key))
        response = self.control[name](members)
        if isinstance(response, Fault):
            if response.code not in {*(shape.name for shape in model.error_shapes), *_COMMON_FAULTS}:
                self.mistakes.append(f"{response.code} is not an error of {name}")
            self._write(handler, 400, json.dumps({"__type": response.code, "message": response.message}).encode())
            return
        report = ParamValidator().validate(response, model.output_shape)
        if report.has_errors():
            self.mistakes.append(report.generate_report())
        self._write(handler, 200, json.dumps(response).encode())

    def _read(self, handler: BaseHTTPRequestHandler, body: bytes) -> Request:
        """Parse a request as the service does, and refuse what it refuses."""
        if handler.headers["X-Amz-Target"] != "RekognitionService.DetectCustomLabels":
            raise _RefusedError(Fault("UnknownOperationException"))
        if handler.headers["Content-Type"] != _CONTENT_TYPE:
            raise _RefusedError(Fault("SerializationException"))
        access_key = self._check_signature(handler, body)
        try:
            members = json.loads(body)
            encoded = members.get("Image", {}).get("Bytes")
            if encoded is not None:
                members["Image"]["Bytes"] = base64.b64decode(encoded, validate=True)
        except (ValueError, AttributeError, TypeError, binascii.Error) as error:
            raise _RefusedError(Fault("SerializationException")) from error
        known = self._operation.input_shape
        report = ParamValidator().validate(members, known)
        if report.has_errors() or (unknown := set(members) - set(known.members)):
            raise _RefusedError(Fault("InvalidParameterException", report.generate_report() or str(unknown)))
        _check_limits(members, known)
        given = members.pop("Image")
        where = given.get("S3Object")
        image = given.get("Bytes", b"") if where is None else self._stored(where)
        if not image.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
            raise _RefusedError(Fault("InvalidImageFormatException"))
        return Request(image, members, access_key, where)

    def _stored(self, where: Mapping[str, str]) -> bytes:
        """Read an image from S3, as the service does."""
        image = self._object_of(where)
        if image is None:
            raise _RefusedError(Fault("InvalidS3ObjectException"))
        if len(image) > _MAX_STORED_BYTES:
            raise _RefusedError(Fault("ImageTooLargeException"))
        return image

    def _check_signature(self, handler: BaseHTTPRequestHandler, body: bytes) -> str:
        """Check the signature by signing the same request with the secret of its access key; return the access key."""
        signed = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/rekognition/aws4_request, "
            r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
            handler.headers.get("Authorization", ""),
        )
        if signed is None:
            raise _RefusedError(Fault("MissingAuthenticationToken"))
        access_key, _, region, names, signature = signed.groups()
        token = handler.headers.get("X-Amz-Security-Token")
        if refusal := self._refusal_of(access_key):
            raise _RefusedError(Fault(refusal))
        secret = self._secret_of(access_key, token)
        if secret is None:
            raise _RefusedError(Fault("UnrecognizedClientException"))
        auth = SigV4Auth(Credentials(access_key, secret, token), "rekognition", region)
        headers = {name: handler.headers[name] for name in names.split(";")}
        again = AWSRequest("POST", self.url + handler.path, headers=headers, data=body)
        again.context["timestamp"] = handler.headers["X-Amz-Date"]
        canonical = auth.canonical_request(again)
        if auth.signature(auth.string_to_sign(again, canonical), again) != signature:
            # Like the real service, which quotes what was signed, the session token included.
            raise _RefusedError(
                Fault("InvalidSignatureException", f"The canonical string should have been {canonical}")
            )
        return access_key

    def _respond(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        if isinstance(answer, Reset):
            if answer.midway:
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            handler.close_connection = True
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
        elif isinstance(answer, Rubbish):
            self._write(handler, answer.status, answer.body)
        elif isinstance(answer, Hold):
            self._hold(handler, answer)
        else:
            self._write(handler, *self._encoded(answer), retry_after=getattr(answer, "retry_after", None))

    def _hold(self, handler: BaseHTTPRequestHandler, answer: Hold) -> None:
        status, body = self._encoded(answer.then)
        if not answer.drip:
            while not (answer.let_go.wait(0.01) or self._closing.is_set()):
                pass
            with suppress(OSError):  # the client may have disconnected
                self._write(handler, status, body)
            return
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: {_CONTENT_TYPE}\r\nContent-Length: {len(body) + 10**6}\r\n\r\n"
        with suppress(OSError):
            handler.wfile.write(head.encode())
            while not (answer.let_go.wait(0.01) or self._closing.is_set()):
                handler.wfile.write(b" ")
        handler.close_connection = True

    def _encoded(self, answer: Labels | Fault) -> tuple[int, bytes]:
        if isinstance(answer, Fault):
            if answer.code not in {
                *error_codes(),
                *_COMMON_FAULTS,
                "UnknownOperationException",
                "SerializationException",
            }:
                self.mistakes.append(f"{answer.code} is not an error of the service")
            body = {"__type": answer.code, "message": answer.message}
            return (500 if answer.code in _SERVER_FAULTS else 400), json.dumps(body).encode()
        response = {"CustomLabels": list(answer.labels)}
        report = ParamValidator().validate(response, self._operation.output_shape)
        if report.has_errors():
            self.mistakes.append(report.generate_report())
        return 200, json.dumps(response).encode()

    @staticmethod
    def _write(handler: BaseHTTPRequestHandler, status: int, body: bytes, *, retry_after: str | None = None) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", _CONTENT_TYPE)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("x-amzn-RequestId", "00000000-0000-4000-8000-000000000000")
        if retry_after is not None:
            handler.send_header("Retry-After", retry_after)
        handler.end_headers()
        handler.wfile.write(body)


def _check_limits(members: Mapping[str, Any], shape: Shape) -> None:
    """Check what botocore's validation leaves to the service: maximum values, lengths and patterns."""
    image = shape.members["Image"].members["Bytes"].metadata
    if len(members["Image"].get("Bytes", b"")) > image["max"]:
        raise _RefusedError(Fault("ImageTooLargeException"))
    if len(members["Image"].keys() & {"Bytes", "S3Object"}) != 1:
        raise _RefusedError(Fault("InvalidParameterException", "Image"))
    stored = shape.members["Image"].members["S3Object"]
    _check_sizes(members["Image"].get("S3Object", {}), stored)
    _check_sizes(members, shape)


def _check_sizes(members: Mapping[str, Any], shape: Shape) -> None:
    for name, value in members.items():
        limits = shape.members[name].metadata
        size = len(value) if isinstance(value, str) else value if isinstance(value, int | float) else 0
        if size > limits.get("max", size) or not re.fullmatch(limits.get("pattern", ".*"), str(value), re.DOTALL):
            raise _RefusedError(Fault("InvalidParameterException", name))
