"""The tasks of the stages, found by the ``kind`` of their section."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from training.stages.stage_task import StageTask


def task_class(kind: str) -> type[StageTask[Any]]:
    """Find the task of a stage: ``kind = "caption-facts"`` is in ``stages/caption_facts.py``.

    Raises:
        KeyError: there is no such file, or it holds no task of that kind.
    """
    name = f"{__package__}.{kind.replace('-', '_')}"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise KeyError(kind) from error
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, StageTask) and "section" in vars(value):
            return value
    raise KeyError(kind)
