"""Free space, pydantic's errors and errors of memory, as everybody reads them."""

import errno
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.disk import disk_space, free_bytes, nearest_existing
from common.out_of_memory import is_out_of_memory, mentions_out_of_memory
from common.validation import Fault, first_fault


def test_space_is_that_of_the_disk(tmp_path: Path) -> None:
    space = disk_space(tmp_path)
    assert space.total == shutil.disk_usage(tmp_path).total
    assert 0 < space.free <= space.total
    assert free_bytes(tmp_path) > 0
    with pytest.raises(FileNotFoundError):
        free_bytes(tmp_path / "missing")


def test_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert nearest_existing(tmp_path / "a" / "b") == tmp_path
    assert nearest_existing(tmp_path) == tmp_path
    assert nearest_existing(Path("missing") / "x") == Path.cwd()


class Limits(BaseModel):
    model_config = ConfigDict(extra="forbid")

    steps: int = Field(ge=1)
    words: tuple[str, ...] = ()


class Sheet(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limits: Limits

    @model_validator(mode="after")
    def _check(self) -> "Sheet":
        if self.limits.steps > 9:
            raise ValueError("too many steps")
        return self


def fault_of(values: object, prefer: str | None = None) -> Fault:
    with pytest.raises(ValidationError) as caught:
        Sheet.model_validate(values)
    return first_fault(caught.value, prefer=prefer)


def test_a_fault_names_its_key_and_the_value() -> None:
    fault = fault_of({"limits": {"steps": 0}})
    assert fault.key == "limits.steps"
    assert fault.kind == "greater_than_equal"
    assert str(fault) == "limits.steps: Input should be greater than or equal to 1"
    assert fault.with_value() == f"{fault} (got 0)"


def test_a_place_in_a_list_is_a_part_of_the_key() -> None:
    assert fault_of({"limits": {"steps": 1, "words": ["a", 7]}}).path == ("limits", "words", "1")


def test_a_fault_of_the_whole_has_no_key_and_shows_no_values() -> None:
    fault = fault_of({"limits": {"steps": 10}})
    assert fault.with_value() == str(fault) == "Value error, too many steps"


def test_a_kind_of_fault_may_come_first() -> None:
    values = {"limits": {"steps": 0, "stepps": 3}}
    assert fault_of(values).key == "limits.steps"
    assert fault_of(values, prefer="extra_forbidden").key == "limits.stepps"
    assert fault_of(values, prefer="missing").key == "limits.steps"


def test_a_value_is_not_shown_by_accident() -> None:
    assert "hunter2" not in repr(fault_of({"limits": {"steps": "hunter2"}}))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=str,
)
def test_errors_that_mean_that_memory_is_used_up(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_what_torch_raises_for_more_than_any_machine_has() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("a prompt about being out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
    ids=str,
)
def test_other_errors_are_other_errors(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_the_text_of_an_error_that_a_library_has_wrapped() -> None:
    assert mentions_out_of_memory("Loading failed: DefaultCPUAllocator: can't allocate memory")
    assert not mentions_out_of_memory("Loading failed: no such file")
