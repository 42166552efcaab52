"""The views: one module for each area of pages. They hold no rule; they call what is below and fill in a template."""

from __future__ import annotations

__all__ = ["account", "check", "discovery", "guide", "operator"]
