"""Settings models: limits in words, and a package's own error for what is not allowed."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, SecretStr, Strict, ValidationError, model_validator

from common.settings import (
    Allowed,
    Section,
    SettingsModel,
    StrictBool,
    StrictInt,
    allowed_words,
    bounds_of,
    choices_of,
    kinds_of,
)


class OvenError(ValueError):
    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key


class Oven(SettingsModel):
    degrees: StrictInt = Field(default=180, ge=50, le=1_000_000)
    hours: Annotated[float | None, Strict(), Field(ge=0.5, le=10)] = None
    """Baking time."""

    fan: StrictBool = False
    shelf: Literal["top", "bottom"] = "top"
    colour: Annotated[str, Allowed("a colour")] = "black"
    pin: SecretStr | None = None

    @classmethod
    def refusal(cls, key: str, fault: Any) -> OvenError:
        return OvenError(key, fault["type"])

    @model_validator(mode="after")
    def _not_both(self) -> Oven:
        if self.fan and self.shelf == "bottom":
            raise OvenError("fan", "only at the top")
        return self


class Kitchen(Section):
    ovens: Mapping[str, Oven] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("degrees", "a whole number from 50 to 1000000"),
        ("hours", "a number from 0.5 to 10"),
        ("fan", "true or false"),
        ("shelf", 'one of "top", "bottom"'),
        ("colour", "a colour"),
    ],
)
def test_limits_in_words(name: str, words: str) -> None:
    assert allowed_words(Oven.model_fields[name]) == words


def test_limits_as_values() -> None:
    fields = Oven.model_fields
    assert bounds_of(fields["hours"]) == ("0.5", "10")
    assert bounds_of(fields["fan"]) is None
    assert choices_of(fields["shelf"]) == ("top", "bottom")
    assert [name for name in fields if NoneType in kinds_of(fields[name])] == ["hours", "pin"]
    assert fields["hours"].description == "Baking time."


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"degrees": 49}, "degrees: greater_than_equal"),
        ({"degrees": True}, "degrees: int_type"),
        ({"hours": float("nan")}, "hours: finite_number"),
        ({"fan": 1}, "fan: bool_type"),
        ({"degrees": 0, "degres": 1}, "degres: extra_forbidden"),
        ({"fan": True, "shelf": "bottom"}, "fan: only at the top"),
    ],
)
def test_a_wrong_value_raises_the_packages_own_error(values: dict[str, Any], text: str) -> None:
    with pytest.raises(OvenError) as refused:
        Oven(**values)
    assert str(refused.value) == text
    # Nothing of what pydantic would show, a secret perhaps, is in a traceback.
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_inside_another_model_the_error_keeps_its_key() -> None:
    with pytest.raises(ValidationError) as refused:
        Kitchen.model_validate({"ovens": {"old": {"fan": True, "shelf": "bottom"}}})
    (fault,) = refused.value.errors()
    assert fault["loc"] == ("ovens", "old")
    assert fault["ctx"]["error"].key == "fan"


def test_sections_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Oven().degrees = 200
