"""Delivery: from the queue to the next hop, and what is told about it.

`Courier` is the whole of it for the rest of the program; the settings classes are its sections of the configuration.
"""

from .courier import Courier
from .local import FindAccount, LocalAccount
from .route import asks_names
from .settings import DeliverySettings, LocalSettings, LocalTransport, RouteSettings, TlsMode
from .settle import Events

__all__ = [
    "Courier",
    "DeliverySettings",
    "Events",
    "FindAccount",
    "LocalAccount",
    "LocalSettings",
    "LocalTransport",
    "RouteSettings",
    "TlsMode",
    "asks_names",
]
