"""The command line, with models that have random weights."""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from engine.checkpoints import Catalog
from training.cli import main
from training.evaluation.clips import Sampling
from training.evaluation.measure import EvaluationPlan
from training.evaluation.processes import process_generator
from training.evaluation.prompts import draw_cases
from training.evaluation.report_json import from_json, to_json

SMALL = ["--prompts", "3", "--curve", "1", "--steps", "1", "--batch", "2"]


def evaluate(model, folder, *options):
    return main(["evaluate", str(model), *SMALL, "--output", str(folder), *options])


@pytest.mark.parametrize("task", ["t2v", "i2v"])
def test_evaluate_writes_a_report(tiny_models, task, tmp_path, capsys):
    assert evaluate(tiny_models[task], tmp_path / "a" / "b", "--processes", "1") == 0
    folder = tmp_path / "a" / "b"
    assert {path.name for path in folder.iterdir()} == {
        "report.html", "report.json", "contact-sheet.png",
    }  # fmt: skip
    text = (folder / "report.json").read_text(encoding="utf-8")
    document = json.loads(text)
    report = from_json(text)
    assert to_json(report) == text
    assert report.rates["found"].total == 3
    settings = document["settings"]
    assert settings["model"] == f"tiny-{task}"
    assert settings["split"] == "held-out"
    assert re.fullmatch(r"[0-9a-f]+", settings["revision"])
    assert settings["wall_seconds"] > 0
    assert settings["command"].startswith(f"python -m training evaluate {tiny_models[task]}")
    assert "--steps 1 --guidance 3 --fps 8 --curve 1" in settings["command"]
    assert (document["first_frame_psnr"] is None) == (task == "t2v")
    assert [check["rates"]["motion"]["total"] for check in document["judge"]] == [32, 32]
    HTMLParser().feed((folder / "report.html").read_text(encoding="utf-8"))
    with Image.open(folder / "contact-sheet.png") as sheet:
        assert sheet.height > 0
    out, err = capsys.readouterr()
    assert "colour" in out
    assert ("dB (first frame, mean)" in out) == (task == "i2v")
    assert str(folder / "report.html") in out
    assert "Colour as asked" in err if task == "t2v" else "First frame" in err


def test_the_curve_has_every_label_of_the_model(tiny_models, tmp_path):
    options = ("--prompts", "8", "--curve", "2", "--judge-check", "0", "--processes", "1")
    assert evaluate(tiny_models["t2v"], tmp_path, *options) == 0
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [point["fps"] for point in document["fps_curve"]["points"]] == [4, 8, 24]
    assert document["fps_curve"]["prompts"] == 2
    assert document["judge"] == []


@pytest.fixture
def one_thread():
    """As many threads as each of several processes has: another number may round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_processes_make_the_clips_that_one_makes(tiny_models, tmp_path):
    options = ("--curve", "0", "--judge-check", "0", "--batch", "1")
    for processes in ("1", "2"):
        folder = tmp_path / processes
        assert evaluate(tiny_models["i2v"], folder, *options, "--processes", processes) == 0
    one, two = (
        json.loads((tmp_path / n / "report.json").read_text(encoding="utf-8")) for n in "12"
    )
    assert (one["settings"].pop("processes"), two["settings"].pop("processes")) == (1, 2)
    assert [clip["seed"] for clip in two["clips"]] == [0, 1, 2]
    assert one["clips"] == two["clips"]
    with (
        Image.open(tmp_path / "1" / "contact-sheet.png") as ours,
        Image.open(tmp_path / "2" / "contact-sheet.png") as theirs,
    ):
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_a_caller_that_stops_listening_leaves_no_process(tiny_models):
    card = Catalog({"tiny-t2v": tiny_models["t2v"]}).get("tiny-t2v")
    sampling = Sampling(steps=1, guidance=1.0, width=32, height=32, num_frames=4, pictures=False)
    work = EvaluationPlan(cases=draw_cases(40, 0), seed=0, fps=8, batch_size=1).work
    before = set(multiprocessing.active_children())
    made = iter(process_generator(card, sampling, 1)(work))
    number, records = next(made)
    assert [record.seed for record in records] == [number]
    assert set(multiprocessing.active_children()) > before
    made.close()
    assert set(multiprocessing.active_children()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fps", "12"], "--fps must be one of 4, 8, 24, not 12"),
        (["--steps", "61"], "--steps must be 1 to 60, not 61"),
        (["--guidance", "0.5"], "--guidance must be 1 to 20, not 0.5"),
        (["--guidance", "nan"], "--guidance must be 1 to 20, not nan"),
        (["--device", "toaster"], "--device toaster cannot be used"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(
    tiny_models, tmp_path, capsys, options, message
):
    assert evaluate(tiny_models["t2v"], tmp_path / "r", *options) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--prompts", "0"], ["--prompts", "x"], ["--curve", "-1"], ["--split", "some"],
        ["--seed", "-1"], ["--processes", "0"], ["--batch", "0"], ["--judge-check", "-1"],
    ],
)  # fmt: skip
def test_wrong_usage(options, capsys):
    with pytest.raises(SystemExit) as error:
        main(["evaluate", "demo-t2v", *options])
    assert error.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_an_unknown_model_is_refused_in_one_line(tmp_path, capsys):
    assert evaluate("nonesuch", tmp_path / "r") == 2
    err = capsys.readouterr().err
    assert "nonesuch" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_a_broken_model_is_refused_in_one_line(tiny_models, tmp_path, capsys):
    broken = tmp_path / "tiny-t2v"
    shutil.copytree(tiny_models["t2v"], broken)
    (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
    assert evaluate(broken, tmp_path / "r") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tiny_models, tmp_path, capsys):
    (tmp_path / "r").write_text("a file")
    assert evaluate(tiny_models["t2v"], tmp_path / "r") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "clips" not in err
    assert (tmp_path / "r").read_text() == "a file"


def test_help_does_not_wait_for_torch():
    script = (
        "import sys; from training.cli import main\n"
        "try: main(['evaluate', '--help'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "--split {held-out,train,all}" in done.stdout
