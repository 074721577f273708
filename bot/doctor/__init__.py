"""Checks of an installation: `python -m bot doctor`."""

from bot.doctor.report import DiagnosticResult, Status

__all__ = ["DiagnosticResult", "Status"]
