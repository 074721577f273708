"""Settings models: frozen sections, their limits in words, and one line about a wrong value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, Strict, ValidationError
from pydantic.fields import FieldInfo

StrictInt = Annotated[int, Strict()]
StrictFloat = Annotated[float, Strict()]
StrictBool = Annotated[bool, Strict()]


@dataclass(frozen=True, slots=True)
class Allowed:
    """Describe a field in words.

    Attributes:
        words: the allowed values, where they do not follow from type and bounds.
        none: the meaning of None, for a setting that may be left unset.
    """

    words: str | None = None
    none: str | None = None


class Section(BaseModel):
    """Settings that belong together: frozen, finite numbers, no unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )


class SettingsModel(Section):
    """A section that is made in Python and raises its package's own error, which has a `key`."""

    if not TYPE_CHECKING:  # type checkers take the arguments from the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                faults = error.errors(include_url=False)
                # Unknown keys first: they explain the rest.
                fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
                raised = fault.get("ctx", {}).get("error")
                # Without its cause, which could show a secret.
                if hasattr(raised, "key"):  # by a validator
                    raise raised from None
                raise self.refusal(str(fault["loc"][0]), fault) from None

    @classmethod
    def refusal(cls, key: str, fault: Mapping[str, Any]) -> ValueError:
        """Make the error about a setting, from the first of pydantic's faults."""
        raise NotImplementedError


def kinds_of(field: FieldInfo) -> tuple[Any, ...]:
    """Return the types that a field may have, NoneType too if it may be left unset."""
    kind = field.annotation
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """Return the texts that a field chooses from; () if it is of another kind."""
    return next((get_args(kind) for kind in kinds_of(field) if get_origin(kind) is Literal), ())


def bounds_of(field: FieldInfo) -> tuple[str, str] | None:
    """Return the smallest and the largest number that are allowed, as people write them."""
    low = next((item.ge for item in field.metadata if isinstance(item, Ge)), None)
    high = next((item.le for item in field.metadata if isinstance(item, Le)), None)
    return None if low is None or high is None else (_number(low), _number(high))


def allowed_words(field: FieldInfo) -> str:
    """Say what a field may be, e.g. "a whole number from 1 to 100" or 'one of "a", "b"'."""
    for item in field.metadata:
        if isinstance(item, Allowed) and item.words is not None:
            return item.words
    if choices := choices_of(field):
        return "one of " + ", ".join(f'"{choice}"' for choice in choices)
    if bool in kinds_of(field):
        return "true or false"
    noun = "a whole number" if int in kinds_of(field) else "a number"
    bounds = bounds_of(field)
    return f"{noun} from {' to '.join(bounds)}" if bounds else noun


def _number(value: Any) -> str:
    return str(int(value)) if value == int(value) else str(value)
