"""Settings of TLS, for listeners and for deliveries alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sekisho.config import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsSettings:
    """TLS: the certificate that the listeners show, and the oldest version they speak."""

    certificate: Path = setting(
        Path("tls/certificate.pem"),
        "PEM file with the certificate of this host name and the chain up to (not including) the root.",
        reload=True,
    )
    key: Path = setting(
        Path("tls/key.pem"),
        "PEM file with the private key of the certificate. The service user must be able to read it.",
        reload=True,
    )
    minimum: Literal["1.2", "1.3"] = setting(
        "1.2", "Oldest TLS version that a client may speak (RFC 8996 retired 1.0 and 1.1).", reload=True
    )
