"""All documents of one domain under the paths that clients ask for: one root serves every name of the domain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import autodiscover, clientconfig, profile
from .errors import NotOffered
from .pacc import CONTENT_TYPE as PACC_TYPE
from .pacc import PATH as PACC_PATH
from .pacc import pacc
from .provider import Provider
from .records import STS_PATH, sts_policy

__all__ = ["Document", "documents"]


@dataclass(frozen=True, slots=True)
class Document:
    """One file for a web server.

    Fields:
        path: below the root, without leading slash.
        hosts: where clients ask for it.
    """

    path: str
    hosts: tuple[str, ...]
    content_type: str
    octets: bytes


def documents(provider: Provider, domain: str, signer: tuple[bytes, bytes] | None) -> tuple[list[Document], list[str]]:
    """Return the documents of *domain*, and for each that there is not, why.

    Args:
        signer: certificate chain and key, as PEM, for the profile; None leaves it unsigned.

    Raises:
        DomainNotOurs, NotOffered (clients cannot be told anything), SigningError
    """
    domain = provider.domain(domain)
    found = list(_always(provider, domain, signer))
    left_out = []
    try:
        found.append(Document(PACC_PATH, (f"ua-auto-config.{domain}",), PACC_TYPE, pacc(provider)))
    except NotOffered as error:
        left_out.append(error.problem)
    try:
        found.append(Document(STS_PATH, (f"mta-sts.{domain}",), "text/plain", sts_policy(provider)))
    except NotOffered as error:
        left_out.append(error.problem)
    return found, left_out


def _always(provider: Provider, domain: str, signer: tuple[bytes, bytes] | None) -> Iterator[Document]:
    config = clientconfig.client_config(provider, domain)
    for path, host in zip(clientconfig.PATHS, (f"autoconfig.{domain}", domain), strict=True):
        yield Document(path, (host,), clientconfig.CONTENT_TYPE, config)
    outlook = (f"autodiscover.{domain}", domain)
    xml = autodiscover.settings_xml(provider, None)
    yield Document(autodiscover.XML_PATH, outlook, "text/xml; charset=utf-8", xml)
    answer = autodiscover.answer_json(provider, f"postmaster@{domain}", "AutodiscoverV1")
    yield Document(autodiscover.JSON_PATH, outlook, answer.content_type, answer.octets)
    plain = profile.profile(provider, domain)
    signed = profile.sign(plain, *signer) if signer is not None else plain
    here = (f"autoconfig.{domain}",)
    yield Document(profile.PATH, here, profile.CONTENT_TYPE, signed)
    yield Document(profile.QR_PATH, here, "image/svg+xml", profile.qr_svg(profile.profile_url(domain)))
