"""Sekisho: mail submission for networks that block port 25."""
