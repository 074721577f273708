"""``python -m engine``: what it prints where, and how it ends."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest
from PIL import Image

from engine.__main__ import main
from tests.engine.cli.runner import Cli

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def broken(tiny_t2v: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_t2v, tmp_path / "broken"))
    (folder / "floor33.json").unlink()
    return folder


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tiny_t2v: Path, tiny_i2v: Path, broken: Path) -> Cli:
    return Cli(capfd, {"tiny-t2v": tiny_t2v, "tiny-i2v": tiny_i2v, "broken": broken})


def generate_arguments(output: Path, **changes: object) -> list[object]:
    given: dict[str, object] = {
        "model": "tiny-t2v",
        "prompt": "a red ball",
        "seed": 7,
        "steps": 2,
        "device": "cpu",
        "threads": 1,
        "output": output,
    }
    return [f"--{key}={value}" for key, value in (given | changes).items() if value is not None]


def comment_of(path: Path) -> dict[str, object]:
    with av.open(str(path)) as container:
        facts: dict[str, object] = json.loads(container.metadata["comment"])
        return facts


def test_models_as_json(cli: Cli, tiny_t2v: Path) -> None:
    code, out, err = cli("models", "--json")
    assert (code, err) == (0, "")
    models = {model["name"]: model for model in json.loads(out)}
    assert models["tiny-t2v"]["ready"] is True
    assert models["tiny-t2v"]["path"] == str(tiny_t2v)
    assert models["tiny-t2v"]["fps"] == [4, 8, 24]
    assert models["tiny-i2v"]["task"] == "image-to-video"
    assert models["broken"]["ready"] is False
    assert "floor33.json is missing" in models["broken"]["problem"]


def test_models_for_people(cli: Cli) -> None:
    code, out, err = cli("models")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "ready  32x32, 4 frames, 4/8/24 fps" in lines["tiny-t2v"]
    assert "NOT READY" in lines["broken"]


def test_generate_writes_the_clip_and_prints_its_path(cli: Cli, tmp_path: Path) -> None:
    output = tmp_path / "new" / "folder" / "clip.mp4"
    code, out, err = cli("generate", *generate_arguments(output, negative="blur", guidance=2))
    assert code == 0, err
    assert out == f"{output}\n"
    assert "seed 7" in err
    assert "2/2" in err
    facts = comment_of(output)
    assert (facts["prompt"], facts["negative_prompt"]) == ("a red ball", "blur")
    assert (facts["seed"], facts["steps"], facts["guidance"]) == (7, 2, 2.0)
    assert [path.name for path in output.parent.iterdir()] == ["clip.mp4"]


def test_generate_from_a_picture_with_everything_set(cli: Cli, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (60, 40), "red").save(picture)
    output = tmp_path / "clip.mp4"
    arguments = generate_arguments(
        output, model="tiny-i2v", image=picture, fps=24, size="48x32", frames=2, seed=None
    )
    code, _, err = cli("generate", *arguments)
    assert code == 0, err
    facts = comment_of(output)
    assert (facts["fps"], facts["width"], facts["height"]) == (24, 48, 32)
    assert facts["num_frames"] == 2
    assert f"seed {facts['seed']}" in err


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"prompt": " "}, "prompt: The prompt is empty"),
        ({"seed": 2**32}, "seed: .*from 0 to 4294967295"),
        ({"steps": 61}, "steps: .*from 1 to 60"),
        ({"guidance": 0}, "guidance: .*from 1 to 20"),
        ({"fps": 5}, "fps: .*one of 4, 8, 24"),
        ({"size": "64x64"}, "size: .*32x32, 48x32"),
        ({"frames": 5}, "--frames: .*from 1 to 4"),
        ({"model": "tiny-t2w"}, "model: .*Did you mean tiny-t2v"),
        ({"model": "tiny-i2v"}, "image: .*starts from a picture"),
        ({"image": ROOT / "README.md"}, "image: .*words alone"),
        ({"image": "/nowhere/picture.png"}, "--image /nowhere/picture.png: No such file"),
        ({"model": "tiny-i2v", "image": ROOT / "README.md"}, "image: .*not a picture"),
        ({"device": "tpu"}, "--device: 'tpu' is none of"),
        ({"device": "cuda:77"}, "--device: 'cuda:77' does not exist"),
        ({"threads": 0}, "threads: 0 is no whole number"),
        ({"output": "clip.avi"}, r"--output clip.avi: the name must end in \.mp4"),
    ],
)
def test_what_the_caller_got_wrong_is_one_line_and_code_2(
    cli: Cli, tmp_path: Path, changes: dict[str, object], text: str
) -> None:
    output = tmp_path / "clip.mp4"
    # Of an option that is given twice, the second counts.
    arguments = [*generate_arguments(output), *(f"--{k}={v}" for k, v in changes.items())]
    code, out, err = cli("generate", *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert re.search(text, err), err
    assert not output.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--model=tiny-t2v", "--prompt=x"],
        ["--model=tiny-t2v", "--prompt=x", "--output=x.mp4", "--seed=many"],
        ["--model=tiny-t2v", "--prompt=x", "--output=x.mp4", "--size=64"],
        ["--model=tiny-t2v", "--prompt=x", "--output=x.mp4", "--model-dir=x"],
    ],
)
def test_wrong_usage_is_code_2(cli: Cli, arguments: list[str]) -> None:
    code, out, err = cli("generate", *arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_a_broken_model_is_code_1(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("generate", *generate_arguments(tmp_path / "clip.mp4", model="broken"))
    assert (code, out) == (1, "")
    assert err.startswith("The model broken is not ready: ")
    assert "floor33.json is missing" in err
    assert len(err.splitlines()) == 1


def test_a_failed_job_is_code_1(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    code, out, err = cli("generate", *generate_arguments(tmp_path / "clip.mp4"))
    assert (code, out) == (1, "")
    assert "encoder (ffmpeg) is missing" in err
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken"]


def test_an_output_that_cannot_be_written_is_code_1(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    arguments = generate_arguments(tmp_path / "file" / "clip.mp4")
    code, out, err = cli("generate", *arguments)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "engine", "models", "--json"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert isinstance(json.loads(done.stdout), list)


def test_without_a_command_it_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2


def test_listing_models_needs_no_model_framework() -> None:
    script = """if True:
        import sys
        from engine.__main__ import main
        main(["models"])
        print("torch" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_ends_in_an_orderly_way(tiny_t2v: Path, tmp_path: Path) -> None:
    arguments = generate_arguments(tmp_path / "clip.mp4", steps=60)
    command = [sys.executable, "-m", "engine", "generate", f"--model-dir=tiny-t2v={tiny_t2v}"]
    with subprocess.Popen(
        [*command, *map(str, arguments)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        heard = ""
        while "on cpu" not in heard and (more := process.stderr.read(1)):
            heard += more
        process.send_signal(signal.SIGINT)
        heard += process.stderr.read()
    assert process.returncode == 130
    assert heard.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in heard
    assert list(tmp_path.iterdir()) == []
