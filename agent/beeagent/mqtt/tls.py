"""Whom to trust and what to show when a broker is spoken to over TLS."""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from beeagent.errors import InputError
from beeagent.mqtt.broker_url import BrokerAddress

# AWS IoT Core takes MQTT with a client certificate on port 443 from those who ask for this protocol.
# https://docs.aws.amazon.com/iot/latest/developerguide/protocols.html
_AWS_ALPN: Final = "x-amzn-mqtt-ca"
_AWS_ALPN_PORT: Final = 443


class TellingSocket(ssl.SSLSocket):
    """A TLS socket that keeps the error that ended it.

    A broker that does not accept the client's certificate says so only after the handshake (TLS 1.3), where paho
    swallows what it said.
    """

    fault: ssl.SSLError | None = None

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read as `ssl.SSLSocket` does."""
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.fault = error
            raise

    def send(self, data: Any, flags: int = 0) -> int:  # noqa: ANN401 - Buffer, which Python 3.10 has no name for
        """Write as `ssl.SSLSocket` does; if the other side has closed, see what it said last."""
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            with suppress(OSError):
                self.recv(1)
            raise


def tls_context(
    *,
    address: BrokerAddress,
    ca_file: Path | None,
    certificate_file: Path | None,
    key_file: Path | None,
    insecure: bool,
) -> ssl.SSLContext:
    """Put together what TLS needs. The broker's certificate is verified, its host name too, unless `insecure`.

    Args:
        address: of the broker.
        ca_file: PEM file of the authorities to trust instead of the system's.
        certificate_file: PEM file of the client's certificate, with `key_file`.
        key_file: PEM file of the certificate's key, without a passphrase.
        insecure: trust any certificate.

    Raises:
        InputError: things contradict each other, or a file cannot be used.
    """
    if (certificate_file is None) != (key_file is None):
        raise InputError("mqtt_certificate_file and mqtt_key_file go together: give both or none")
    if insecure and ca_file is not None:
        raise InputError(
            f"insecure_tls is set and trusts everyone, mqtt_ca_file {ca_file} names whom to trust: give one of them"
        )
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ValueError) as error:
        raise InputError(f"mqtt_ca_file {ca_file} cannot be used: {_words(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = TellingSocket
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate_file is not None and key_file is not None:
        _load_certificate(context, certificate_file, key_file)
        if address.port == _AWS_ALPN_PORT:
            context.set_alpn_protocols([_AWS_ALPN])
    return context


def _load_certificate(context: ssl.SSLContext, certificate_file: Path, key_file: Path) -> None:
    def no_passphrase() -> str:
        # Without this, OpenSSL asks for it on the terminal, and a service would wait there for ever.
        raise InputError(f"mqtt_key_file {key_file} has a passphrase, which nobody can type here: give one without")

    try:
        context.load_cert_chain(str(certificate_file), str(key_file), password=no_passphrase)
    except (OSError, ValueError) as error:
        raise InputError(
            f"mqtt_certificate_file {certificate_file} with mqtt_key_file {key_file} cannot be used: {_words(error)}"
        ) from error


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not a PEM file").replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
