"""Checks of an installation: `python -m bot doctor`."""

from bot.doctor.report import Check, Status

__all__ = ["Check", "Status"]
