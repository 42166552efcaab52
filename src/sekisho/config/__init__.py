"""Settings machinery: declaring, loading, checking and documenting settings. Knows no other package."""

from __future__ import annotations

from .errors import ConfigError, ConfigErrors
from .load import load
from .reference import example, reference
from .reload import Changes, changed
from .setting import REQUIRED, Check, Row, at_least, between, rows_of, setting
from .values import (
    DAY,
    GIB,
    HOUR,
    KIB,
    MIB,
    MINUTE,
    Duration,
    Endpoint,
    Network,
    Secret,
    Size,
    parse_duration,
    parse_network,
    parse_size,
    render_duration,
    render_size,
)

__all__ = [
    "DAY",
    "GIB",
    "HOUR",
    "KIB",
    "MIB",
    "MINUTE",
    "REQUIRED",
    "Changes",
    "Check",
    "ConfigError",
    "ConfigErrors",
    "Duration",
    "Endpoint",
    "Network",
    "Row",
    "Secret",
    "Size",
    "at_least",
    "between",
    "changed",
    "example",
    "load",
    "parse_duration",
    "parse_network",
    "parse_size",
    "reference",
    "render_duration",
    "render_size",
    "rows_of",
    "setting",
]
