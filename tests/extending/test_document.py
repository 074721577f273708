"""docs/extending.md shows examples that run: its code is that of the tests beside this one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCUMENT = HERE.parent.parent / "docs" / "extending.md"

_FLAGS = re.MULTILINE | re.DOTALL
_QUOTED = re.compile(r"^<!-- (tests/extending/\S+\.py) -->\n```python\n(.*?)^```$", _FLAGS)
_MARKED = re.compile(r"^# \[example\]\n(.*?)^# \[/example\]$", _FLAGS)

EXAMPLES = sorted(
    path.name for path in HERE.glob("test_*.py") if _MARKED.search(path.read_text("utf-8"))
)


def example(name: str) -> str:
    """The parts of a test that are marked as the example, one empty line between them."""
    parts = _MARKED.findall((HERE / name).read_text("utf-8"))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_document_shows_the_example_that_runs(name: str) -> None:
    shown = {Path(file).name: code for file, code in _QUOTED.findall(DOCUMENT.read_text("utf-8"))}
    assert shown.get(name) == example(name), f"docs/extending.md does not show {name} as it is"


def test_the_document_quotes_nothing_else() -> None:
    quoted = [Path(file).name for file, _ in _QUOTED.findall(DOCUMENT.read_text("utf-8"))]
    assert sorted(quoted) == EXAMPLES
