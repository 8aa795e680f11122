"""The verbs that are written in Python, behind the native ``pyi``."""

from __future__ import annotations

from pyi.cli.main import VERBS, main

__all__ = ["VERBS", "main"]
