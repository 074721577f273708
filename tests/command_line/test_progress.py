"""Progress where no terminal is."""

from __future__ import annotations

import pytest

from command_line.progress import ProgressLine


def test_lines_without_carriage_returns(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(40, "steps", "waiting", pause_s=0.0) as line:
        line.label("on cpu")
        for step in range(1, 41):
            line.advance_to(step)
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    assert len(err.splitlines()) == 10
    assert err.splitlines()[-1].startswith("on cpu: 40/40 steps (100%)")


def test_what_is_done_soon_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(3_000_000, "B", scale=True, pause_s=3600.0) as line:
        for done in range(0, 3_000_001, 1000):
            line.advance_to(done)
    assert capsys.readouterr().err.splitlines()[0].startswith("3 M/3 M B (100%)")
