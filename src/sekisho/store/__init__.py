"""Durable files and SQL databases: the machinery under `queue` and `accounts`, which knows no mail."""

from .durable import fsync_directory, make_directory_durably, rename_durably, write_atomically
from .sql import (
    Migration,
    SchemaTooNew,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    connect,
    load_migrations,
    mapped,
    migrate,
    open_database,
    transaction,
    version_of,
)

__all__ = [
    "Migration",
    "SchemaTooNew",
    "StoreBusy",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "connect",
    "fsync_directory",
    "load_migrations",
    "make_directory_durably",
    "mapped",
    "migrate",
    "open_database",
    "rename_durably",
    "transaction",
    "version_of",
    "write_atomically",
]
