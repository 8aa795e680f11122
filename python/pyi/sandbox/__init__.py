"""A real directory for real tools: what a candidate's commands see, and how they are run and stopped."""

from __future__ import annotations

from pyi.sandbox.backend import Backend, Capabilities, detect
from pyi.sandbox.base import Base
from pyi.sandbox.process import Cancel, Command, Outcome
from pyi.sandbox.sandbox import Sandbox
from pyi.sandbox.scratch import Scratch, sweep

__all__ = ["Backend", "Base", "Cancel", "Capabilities", "Command", "Outcome", "Sandbox", "Scratch", "detect", "sweep"]
