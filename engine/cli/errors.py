"""End a command that cannot go on, in the words of who typed it."""

from __future__ import annotations

from command_line.codes import CommandError, usage_error

__all__ = ["CommandError", "option_error", "option_of", "usage_error"]

_OPTIONS = {
    "devices": "--device",
    "height": "--size",
    "negative_prompt": "--negative",
    "num_frames": "--frames",
    "width": "--size",
}
"""Fields of requests and settings whose options have other names than they."""


def option_of(field: str) -> str:
    """Return the option that gives a field of a request or of the engine's settings its value."""
    return _OPTIONS.get(field, f"--{field.replace('_', '-')}")


def option_error(field: str, message: str) -> CommandError:
    """Return the error for a value that the engine refuses, named as it was typed.

    Args:
        field: the field at fault.
        message: what is wrong; may begin with the field's name.
    """
    return usage_error(f"{option_of(field)}: {message.removeprefix(f'{field} ')}")
