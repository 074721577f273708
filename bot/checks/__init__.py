"""What `python -m bot doctor` looks at."""

from bot.checks.report import Check, Status

__all__ = ["Check", "Status"]
