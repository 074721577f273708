"""Pydantic's errors in one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError


@dataclass(frozen=True, slots=True)
class Fault:
    """One value that a model refuses.

    Attributes:
        path: names and indices that lead to the value; empty for the model as a whole.
        kind: pydantic's name for the error, such as `missing` or `extra_forbidden`.
        message: pydantic's text.
        given: the value; it may be a secret, and is shown by nobody but `with_value`.
        raised: the error that a validator of the model raised, if one did.
    """

    path: tuple[str, ...]
    kind: str
    message: str
    given: Any = field(repr=False)
    raised: BaseException | None = None

    @property
    def key(self) -> str:
        """The path with dots, such as `limits.max_steps`."""
        return ".".join(self.path)

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.path else self.message

    def with_value(self) -> str:
        """Return the sentence and the value; a whole section is refused in words of its own."""
        return str(self) + self.value_note

    @property
    def value_note(self) -> str:
        """The value in brackets; nothing for a whole section, whose message names its keys."""
        return "" if isinstance(self.given, dict) else f" (got {self.given!r})"


def first_fault(error: ValidationError, *, prefer: str | None = None) -> Fault:
    """Return the first fault, or the first of a preferred kind if there is one."""
    found = error.errors(include_url=False)
    first = next((fault for fault in found if fault["type"] == prefer), found[0])
    path = tuple(str(part) for part in first["loc"])
    raised = first.get("ctx", {}).get("error")
    return Fault(path, first["type"], first["msg"], first["input"], raised)
