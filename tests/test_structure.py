"""Names that mean one thing and docstrings that say it: what no linter holds."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("bot", "command_line", "common", "engine", "prompt_expansion", "training")

_NOUN_CLAUSE = re.compile(r"(What|Who|Whose|Whether|Where|How|Which|When|Why|That|Those)\b")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def test_no_public_class_name_means_two_things() -> None:
    places = defaultdict(list)
    for file, tree in modules():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(file)
    assert len(places) > 300
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_docstrings_open_with_a_verb_or_the_things_name() -> None:
    opened = []
    count = 0
    for file, tree in modules():
        for node in ast.walk(tree):
            if not isinstance(
                node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            ):
                continue
            text = ast.get_docstring(node) or ""
            count += bool(text)
            if _NOUN_CLAUSE.match(text):
                opened.append(f"{file}: {text.splitlines()[0]}")
    assert count > 2000
    assert opened == []
