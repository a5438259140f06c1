"""Serves a Hugging Face checkpoint inside this process. Rule: the heavy libraries are imported at start, not here."""

from __future__ import annotations

from server.engines.embedded.engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]
