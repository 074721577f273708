"""The checks of `python -m bot doctor`."""

from bot.checks.report import Check, Status

__all__ = ["Check", "Status"]
