"""Automatic configuration: what clients, and the domains' correspondents, find by themselves. Pure but for `Lookup`.

Called by the command line and the portal. It never asks whether an account exists, and never holds a password.
"""

from .autodiscover import Answer, answer_json, answer_xml, read_request, settings_xml
from .clientconfig import client_config
from .documents import Document, documents
from .errors import AddressRefused, AutoconfigError, DomainNotOurs, NotOffered, RequestRefused, SigningError
from .lookup import Lookup, LookupFailed
from .pacc import pacc, pacc_digest
from .profile import profile, profile_url, qr_svg, sign
from .provider import Protocol, Provider, Security, Server
from .records import NOT_SIGNED, Kind, Record, records, sts_policy, zone
from .settings import AutoconfigSettings, DmarcPolicy, IncomingSettings, IncomingTls, StsMode, UserName
from .verify import State, Verdict, verify

__all__ = [
    "NOT_SIGNED",
    "AddressRefused",
    "Answer",
    "AutoconfigError",
    "AutoconfigSettings",
    "DmarcPolicy",
    "Document",
    "DomainNotOurs",
    "IncomingSettings",
    "IncomingTls",
    "Kind",
    "Lookup",
    "LookupFailed",
    "NotOffered",
    "Protocol",
    "Provider",
    "Record",
    "RequestRefused",
    "Security",
    "Server",
    "SigningError",
    "State",
    "StsMode",
    "UserName",
    "Verdict",
    "answer_json",
    "answer_xml",
    "client_config",
    "documents",
    "pacc",
    "pacc_digest",
    "profile",
    "profile_url",
    "qr_svg",
    "read_request",
    "records",
    "settings_xml",
    "sign",
    "sts_policy",
    "verify",
    "zone",
]
