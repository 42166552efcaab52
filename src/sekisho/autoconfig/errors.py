"""What cannot be told to a client, in words for whoever asked.

Exceptions:
    AutoconfigError
    ├── AddressRefused      what was given as an address is none
    ├── DomainNotOurs       an address or domain that this service does not serve
    ├── RequestRefused      an Autodiscover request that is malformed, hostile or too long
    ├── NotOffered          the settings leave this kind of document nothing to say
    └── SigningError        the profile cannot be signed with the service's certificate
"""

from __future__ import annotations

__all__ = ["AddressRefused", "AutoconfigError", "DomainNotOurs", "NotOffered", "RequestRefused", "SigningError"]


class AutoconfigError(Exception):
    """Nothing was made. `problem` says why and what to do, without secrets."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class AddressRefused(AutoconfigError):
    """The text is no mail address."""


class DomainNotOurs(AutoconfigError):
    """The domain is not one that is set up here."""


class RequestRefused(AutoconfigError):
    """The request is not answered with settings."""


class NotOffered(AutoconfigError):
    """This kind of document has nothing to say."""


class SigningError(AutoconfigError):
    """No signature could be made."""
