"""Automatic configuration: what clients, and the domains' correspondents, find by themselves. Pure but for `Lookup`.

Called by the command line and the portal. It never asks whether an account exists, and never holds a password. Import
from the module that has it: the mail server needs the settings, and must not carry the rest.
"""

__all__: list[str] = []
