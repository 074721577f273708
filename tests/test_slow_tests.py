"""The list of slow tests names tests that exist."""

import ast

import pytest

from tests.slow_tests import HERE, REASONS


@pytest.mark.parametrize("name", REASONS)
def test_a_slow_test_exists_and_has_a_reason(name: str) -> None:
    file, _, function = name.partition("::")
    tree = ast.parse((HERE / file).read_text("utf-8"))
    functions = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not function or function in functions
    assert REASONS[name]
