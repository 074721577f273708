"""The part of a test that `docs/extending.md` quotes, as the file that it stands for."""

from __future__ import annotations

from pathlib import Path


def write_example(test: Path, target: Path) -> None:
    """Write what stands between the markers of a test into a file of its own."""
    text = test.read_text(encoding="utf-8")
    example = text.partition("# [example]\n")[2].partition("# [/example]")[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("from __future__ import annotations\n\n" + example, encoding="utf-8")
