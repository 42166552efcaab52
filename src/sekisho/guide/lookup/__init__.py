"""Other providers' submission settings, for people whose mail address is someone else's: looked up where they publish
them, and tried out on request. The only part of the guide that connects anywhere, and within narrow bounds.
"""

from __future__ import annotations

from .document import BadDocument, Outgoing, Published, read_document
from .fetch import Fetched, Fetcher, FetchError, Names, may_connect
from .find import Answer, Finder, Source, registered_part
from .probe import Probed, Reached, probe

__all__ = [
    "Answer",
    "BadDocument",
    "FetchError",
    "Fetched",
    "Fetcher",
    "Finder",
    "Names",
    "Outgoing",
    "Probed",
    "Published",
    "Reached",
    "Source",
    "may_connect",
    "probe",
    "read_document",
    "registered_part",
]
