"""Settings models: frozen sections, their limits in words, and one line about a wrong value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
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
    """A section that is made in Python and raises its package's own error."""

    if not TYPE_CHECKING:  # type checkers take the arguments from the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                faults = error.errors(include_url=False)
                # Unknown keys first: they explain the rest.
                fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
                raised = fault.get("ctx", {}).get("error")
                if isinstance(raised, self.error_type()):
                    raise raised from None
                # Without its cause, which could show a secret.
                raise self.refusal(str(fault["loc"][0]), fault) from None

    @classmethod
    def error_type(cls) -> type[ValueError]:
        """Return the error that `refusal` makes; validators may raise it themselves."""
        raise NotImplementedError

    @classmethod
    def refusal(cls, key: str, fault: Any) -> ValueError:
        """Make the error about a setting, from the first of pydantic's faults."""
        raise NotImplementedError


def kinds_of(field: FieldInfo) -> tuple[Any, ...]:
    """Return the types that a field may have, without None and without their metadata."""
    annotation = field.annotation
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return tuple(
        get_args(kind)[0] if get_origin(kind) is Annotated else kind
        for kind in kinds
        if kind is not NoneType
    )


def may_be_none(field: FieldInfo) -> bool:
    """Return whether a setting may be left unset."""
    return NoneType in get_args(field.annotation)


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """Return the texts that a field chooses from; () if it is of another kind."""
    return next((get_args(kind) for kind in kinds_of(field) if get_origin(kind) is Literal), ())


def bounds_of(field: FieldInfo) -> tuple[str, str] | None:
    """Return the smallest and the largest number that are allowed, as people write them."""
    low = next((item.ge for item in metadata_of(field) if isinstance(item, Ge)), None)
    high = next((item.le for item in metadata_of(field) if isinstance(item, Le)), None)
    return None if low is None or high is None else (_number(low), _number(high))


def metadata_of(field: FieldInfo) -> Iterator[Any]:
    """Yield the metadata of a field, and of the type that stands beside None."""
    yield from field.metadata
    for kind in get_args(field.annotation):
        for item in getattr(kind, "__metadata__", ()):
            yield from item.metadata if isinstance(item, FieldInfo) else (item,)


def allowed_words(field: FieldInfo) -> str:
    """Say what a field may be, e.g. "a whole number from 1 to 100" or 'one of "a", "b"'."""
    for item in metadata_of(field):
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
