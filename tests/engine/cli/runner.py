"""Runs the engine's commands as a shell would, in this process."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.__main__ import main


class Cli:
    """Runs commands with some models known by name."""

    def __init__(self, capfd: pytest.CaptureFixture[str], models: Mapping[str, Path]) -> None:
        self._capfd = capfd
        self._models = [f"--model-dir={name}={path}" for name, path in models.items()]

    def __call__(self, command: str, *arguments: object) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)"""
        self._capfd.readouterr()
        try:
            code = main([command, *self._models, *map(str, arguments)])
        except SystemExit as end:  # how argparse refuses
            code = int(end.code or 0)
        out, err = self._capfd.readouterr()
        return code, out, err
