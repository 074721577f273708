"""The matrix of faults: its cells are played, and its verdicts are those that they should be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fault_clicks import Delete
from benchmarks.fault_jobs import ClipByToken
from benchmarks.fault_kinds import FAULTS
from benchmarks.fault_lab import Lab, lab
from benchmarks.faults import main
from tests.engine.conftest import write_tiny_model
from tests.loopback_discord import Message


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("faults")
    model = write_tiny_model(folder / "tiny-t2v", with_image=False)
    with lab(folder / "lab", model) as made:
        yield made


def test_nothing_is_lost_doubled_or_kept_quiet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "cells.json"
    arguments = ["--only", "400 50035,reset done,503", "--restarts", "none,kill", "--lanes", "1"]
    arguments += [
        "--steps",
        "acknowledgement,first card,clip token,clip message,clip direct,clip anywhere",
    ]
    assert main([*arguments, "--json", str(output)]) == 0
    cells = json.loads(output.read_text())
    assert len(cells) == 3 * 2 * 6
    endings = {(c["fault"], c["step"], c["restart"]): c["outcome"]["ending"] for c in cells}
    assert endings["400 50035", "acknowledgement", "none"] == "never acknowledged"
    assert endings["400 50035", "clip anywhere", "none"].startswith("rendered, told on the card")
    assert endings["400 50035", "clip direct", "none"].startswith("rendered, told in /history")
    assert endings["400 50035", "clip anywhere", "kill"] == "shown"
    assert endings["503", "clip direct", "none"] == endings["reset done", "clip token", "kill"]
    assert endings["reset done", "first card", "none"] == "shown"
    assert endings["reset done", "clip message", "kill"] == "shown"
    assert "36 cells, lost 0, twice 0, not told 0" in capsys.readouterr().out


def test_what_is_wrong_is_seen(bench: Lab) -> None:
    cell = ClipByToken(bench, FAULTS["429 short"], restart=False, killed=False)
    bench.open([cell])
    cell.begin()
    cell.finish()
    messages = bench.discord.state.messages
    assert cell.outcome().ending == "shown"
    (shown,) = cell.clips()
    messages[shown.id + 1] = replace(shown, id=shown.id + 1)
    assert cell.outcome().twice
    del messages[shown.id + 1]
    messages[shown.id] = Message(shown.id, shown.channel_id, "🎬 Rendering")
    row = cell.row()
    assert row is not None
    assert not cell.outcome().lost, "it can be had from /history"
    assert cell.outcome().untold, "but its owner does not know"
    (bench.data_dir / row["path"]).unlink()
    assert cell.outcome().lost
    bench.close()


def test_half_a_deletion_is_a_loss(bench: Lab) -> None:
    cell = Delete(bench, FAULTS["403 50013"], restart=False, killed=False)
    bench.open([cell])
    cell.begin()
    cell.finish()
    assert cell.outcome().ending == "kept, told: True"
    row = cell.row()
    assert row is not None
    (bench.data_dir / row["path"]).unlink()
    assert cell.outcome().lost
    bench.close()


def test_an_unknown_fault_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "no such fault"])
    assert "unknown: no such fault" in capsys.readouterr().err
