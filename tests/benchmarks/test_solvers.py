"""The solver figures come out of real runs, and say what they claim."""

import json
from pathlib import Path

import pytest

from benchmarks.solvers import main


def test_a_second_order_solver_is_nearer_to_the_converged_clip(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = golden / "e2e_t2v", tmp_path / "figures.json"
    arguments = [f"--checkpoint={folder / 'model.ckpt'}", f"--config={folder / 'run.json'}"]
    arguments += ["--prompts=2", "--reference-steps=60", "--spacing=trailing", f"--output={output}"]
    assert main([*arguments, "--solvers", "ddim", "dpm++2m", "--steps", "10", "20"]) == 0
    facts = json.loads(output.read_text())
    found = {(one["solver"], one["steps"]): one for one in facts["measurements"]}
    assert len(facts["prompts"]) == 2
    assert facts["reference"] == {"solver": "dpm++2m", "steps": 60}
    assert 0 < facts["rms_between_references"] < 0.1
    assert found["dpm++2m", 20]["rms"] < found["dpm++2m", 10]["rms"] < found["ddim", 20]["rms"]
    assert found["dpm++2m", 10]["rms_to_ddim"] < found["ddim", 10]["rms_to_ddim"]
    assert found["dpm++2m", 20]["psnr_db"] > found["ddim", 20]["psnr_db"] + 6
    table = capsys.readouterr().out
    assert table.count("\n| ddim |") == table.count("\n| dpm++2m |") == 2
