"""The files and functions of our own that one ``/imagine`` enters, from the command to the clip.

The real bot runs in the tests' simulated Discord with a tiny model. Every thread is traced from the
command until the clip is delivered; networks, store and messages count like everything else.

    python -m benchmarks.request_path --list
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

from bot.settings import Settings
from tests.bot.conftest import make_world
from tests.engine.conftest import write_tiny_model

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("bot", "command_line", "engine", "prompt_expansion")

Function = tuple[str, int, str]
"""File below the repository, first line, name."""


class Tracer:
    """Notes each named function of our packages that any thread enters."""

    def __init__(self) -> None:
        self.entered: set[Function] = set()
        self._prefixes = tuple(str(_ROOT / package) for package in _PACKAGES)

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """See `sys.setprofile`."""
        code = frame.f_code
        if (
            event == "call"
            and code.co_filename.startswith(self._prefixes)
            and not code.co_name.startswith("<")  # comprehensions and lambdas are no functions
        ):
            name = str(Path(code.co_filename).relative_to(_ROOT))
            self.entered.add((name, code.co_firstlineno, code.co_name))


async def trace(folder: Path) -> set[Function]:
    """Return what is entered from the command to the delivered clip."""
    write_tiny_model(folder / "tiny-t2v", with_image=False)
    settings = Settings.load(
        overrides={
            "data_dir": str(folder / "data"),
            "engine": {"devices": ["cpu"], "threads": 1},
            "models": {
                "text_to_video": "tiny-t2v",
                "image_to_video": "tiny-t2v",
                "extra": {"tiny-t2v": str(folder / "tiny-t2v")},
            },
        }
    )
    tracer = Tracer()
    async with make_world(settings) as world:
        # The engine's threads start with the first job, so they are traced from their beginning.
        threading.setprofile(tracer)
        sys.setprofile(tracer)
        try:
            await world.imagine("a cat on a boat")
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    return tracer.entered


def main() -> None:
    """Trace one command, and print how many files and functions it enters."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.request_path", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the files, by package")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        entered = asyncio.run(trace(Path(folder)))
    files = Counter(name for name, _, _ in entered)
    print(f"{len(files)} files, {len(entered)} functions")
    if options.list:
        for name, functions in sorted(files.items()):
            print(f"{functions:4d}  {name}")


if __name__ == "__main__":
    main()
