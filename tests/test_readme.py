"""README's promises that can be checked without carrying them out."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def quick_start() -> list[str]:
    """The command lines of the section "Quick start"."""
    section = README.split("\n## Quick start\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_quick_start_is_one_line_to_run_and_one_to_test() -> None:
    run, test = quick_start()

    assert run.startswith("python3 -m venv .venv && ")
    assert run.endswith(" && .venv/bin/python -m bot")
    assert test.startswith("python3 -m venv .venv && ")
    assert test.endswith(" && .venv/bin/python -m pytest")


def test_quick_start_installs_extras_that_exist() -> None:
    used = set(re.findall(r"\.\[(\w+)\]", "\n".join(quick_start())))

    assert used == {"test"}
    assert used <= set(PROJECT["optional-dependencies"])


def test_ci_takes_its_test_command_from_the_readme() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    lookup = re.search(r"grep .* README\.md", script)
    assert lookup, "no look-up of README's command in .ci/run"

    found = subprocess.run(
        ["bash", "-c", lookup.group().rstrip(")")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout.splitlines() == [quick_start()[1]]


def test_documents_link_to_files_that_exist() -> None:
    for document in (
        "README.md",
        "CONTRIBUTING.md",
        "PRIVACY.md",
        "SECURITY.md",
        "docs/architecture.md",
        "docs/models.md",
        "docs/operations.md",
    ):
        path = REPOSITORY / document
        links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8"))
        missing = [link for link in links if not (path.parent / link).exists()]
        assert not missing, f"{document} links to what is not there: {missing}"


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m (\w+)", README)) - {"pytest"}))
def test_commands_shown_can_be_run(module: str) -> None:
    assert (REPOSITORY / module / "__main__.py").is_file()


def test_version_has_a_changelog_entry() -> None:
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")

    assert f"\n## {PROJECT['version']} " in changelog
