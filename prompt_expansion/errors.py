"""The base of the exceptions of prompt expansion."""

from __future__ import annotations


class ExpansionError(Exception):
    """Something that prompt expansion refuses or cannot use; the text says what."""
