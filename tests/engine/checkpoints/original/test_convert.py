"""Original checkpoints become model folders that the catalogue serves."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.__main__ import main
from engine.checkpoints import (
    Catalog,
    ModelCard,
    OriginalCheckpointError,
    OutputExistsError,
    convert_original,
    load_original,
    load_pipeline,
)
from engine.checkpoints.loading.load import load_scheduler
from engine.checkpoints.original.metadata import folder_metadata
from engine.checkpoints.original.presets import PRESETS, parse_config
from engine.schedulers import OriginalDDIMScheduler
from tests.engine.checkpoints.original.recorded import Recorded

ROOT = Path(__file__).resolve().parents[4]


def card_of(folder: Path) -> ModelCard:
    return Catalog({"converted": folder}).get("converted")


@pytest.fixture
def config_file(t2v: Recorded, tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(t2v.config))
    return path


def run_cli(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capfd.readouterr()
    try:
        code = main(["convert", *map(str, arguments)])
    except SystemExit as end:  # how argparse refuses
        code = int(end.code or 0)
    out, err = capfd.readouterr()
    return code, out, err


def test_the_command_makes_a_folder_with_the_same_frames(
    either: Recorded, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config, output = tmp_path / "config.json", tmp_path / "new" / "my-model"
    config.write_text(json.dumps(either.config))
    code, out, err = run_cli(capfd, either.checkpoint, f"--config={config}", f"--output={output}")
    assert (code, out) == (0, f"{output}\n")
    assert "100%" in err
    assert [path.name for path in output.parent.iterdir()] == ["my-model"]

    card = card_of(output)
    assert card.ready, card.problem
    assert card.wants_image == ("image_uint8" in either.tensors)
    assert (card.width, card.height, card.num_frames) == (64, 64, 8)
    direct = load_original(either.checkpoint, either.config)
    served = load_pipeline(card)
    assert type(served) is type(direct)
    served.scheduler = load_scheduler(replace(card, scheduler="ddim-original"))
    frames = [pipe(**either.arguments("run0")).frames for pipe in (served, direct)]
    assert torch.equal(*frames)


def test_a_folder_is_served_by_a_fast_solver_unless_its_facts_say_otherwise(
    either: Recorded, tmp_path: Path
) -> None:
    output = convert_original(either.checkpoint, either.config, tmp_path / "out")
    direct = load_original(either.checkpoint, either.config).scheduler
    assert isinstance(direct, OriginalDDIMScheduler)
    card = card_of(output)
    assert (card.scheduler, card.default_steps) == ("dpm++2m", 25)
    fast = load_pipeline(card).scheduler
    assert fast.config["solver"] == "dpm++2m"
    assert fast.default_eta == 0
    assert torch.equal(fast.schedule.alphas_cumprod, direct.schedule.alphas_cumprod)
    assert torch.equal(fast.schedule.scale, direct.schedule.scale)
    fast.set_timesteps(27)

    facts = output / "floor33.json"
    facts.write_text(facts.read_text().replace('"dpm++2m"', '"ddim-original"'))
    published = load_pipeline(card_of(output)).scheduler
    assert published.config == direct.config
    assert published.default_eta == 1


@pytest.mark.parametrize("preset", PRESETS)
def test_published_models_state_their_facts(preset: str) -> None:
    facts = folder_metadata(
        PRESETS[preset].config, preset=PRESETS[preset], folder="any", size_divisor=64
    )
    assert (facts.name, facts.num_frames) == (preset, 16)
    assert (facts.width, facts.height) == ((1024, 576) if "1024" in preset else (512, 320))
    assert facts.task == ("image-to-video" if preset == "i2v-512" else "text-to-video")
    assert (facts.default_guidance, facts.default_steps) == (12.0, 25)
    assert "non-commercial" in facts.licence


@pytest.mark.parametrize(("folder", "name"), [("my-model", "my-model"), (".x y", "converted")])
def test_other_models_are_named_by_their_folder(t2v: Recorded, folder: str, name: str) -> None:
    config = parse_config(t2v.config | {"image_size": (4, 6)})
    facts = folder_metadata(config, preset=None, folder=folder, size_divisor=16)
    assert (facts.name, facts.title, facts.licence) == (name, name, "not stated")
    assert (facts.width, facts.height) == (48, 32)


def test_half_precision_stays_and_large_networks_are_split(i2v: Recorded, tmp_path: Path) -> None:
    source = tmp_path / "model.safetensors"
    halved = {name: tensor.half() for name, tensor in i2v.state().items()}
    save_file(halved, source)
    reported: list[tuple[str, int, int]] = []
    output = convert_original(
        source,
        i2v.config,
        tmp_path / "out",
        on_progress=lambda *step: reported.append(step),
        shard_bytes=100_000,
    )
    shards = sorted((output / "unet").glob("*.safetensors"))
    assert len(shards) > 3
    assert all(shard.stat().st_size < 200_000 for shard in shards)
    weights = {name: value for shard in shards for name, value in load_file(shard).items()}
    assert {value.dtype for value in weights.values()} == {torch.float16}
    done = [step[1] for step in reported]
    assert done == sorted(set(done))
    assert done[-1] == reported[-1][2]
    assert [step[0] for step in reported][-1] == "image_projection"

    card = card_of(output)
    assert card.ready, card.problem
    served: Any = load_pipeline(card)
    direct: Any = load_original(source, i2v.config)
    for name in ("unet", "vae", "text_encoder", "image_encoder", "image_projection"):
        ours, theirs = getattr(served, name).state_dict(), getattr(direct, name).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_nothing_of_the_source_stays_mapped_from_one_shard_to_the_next(
    i2v: Recorded, tmp_path: Path
) -> None:
    """Resident pages of a mapping count as this program's memory, so a large file must not grow."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not tell what is mapped")
    source = tmp_path / "model.ckpt"
    torch.save(i2v.state(), source)
    mapped: list[bool] = []
    convert_original(
        source,
        i2v.config,
        tmp_path / "out",
        on_progress=lambda *_: mapped.append(str(source) in maps.read_text()),
        shard_bytes=100_000,
    )
    assert len(mapped) > 10
    assert not any(mapped)


def test_double_precision_becomes_single(t2v: Recorded, tmp_path: Path) -> None:
    source = tmp_path / "model.safetensors"
    save_file({name: tensor.double() for name, tensor in t2v.state().items()}, source)
    output = convert_original(source, t2v.config, tmp_path / "out")
    weights = load_file(output / "vae" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_an_empty_folder_may_be_filled_and_a_used_one_not(t2v: Recorded, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    assert convert_original(t2v.checkpoint, t2v.config, output) == output
    before = sorted(output.rglob("*"))
    with pytest.raises(OutputExistsError, match="out exists and is not empty"):
        convert_original(t2v.checkpoint, t2v.config, output)
    assert sorted(output.rglob("*")) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
def test_an_interrupted_conversion_leaves_nothing(
    t2v: Recorded, tmp_path: Path, error: type[BaseException]
) -> None:
    parent = tmp_path / "models"

    def interrupt(component: str, done: int, total: int) -> None:
        partial = next(parent.iterdir())
        assert partial.name.startswith(".out.")
        assert any(partial.rglob("*.safetensors"))
        if component == "unet":
            raise error("stop")

    expected = OriginalCheckpointError if error is OSError else error
    with pytest.raises(expected, match="stop"):
        convert_original(t2v.checkpoint, t2v.config, parent / "out", on_progress=interrupt)
    assert list(parent.iterdir()) == []


def test_a_refused_checkpoint_leaves_nothing(t2v: Recorded, tmp_path: Path) -> None:
    state = t2v.state()
    del state["betas"]
    torch.save(state, tmp_path / "model.ckpt")
    with pytest.raises(OriginalCheckpointError, match="missing: betas"):
        convert_original(tmp_path / "model.ckpt", t2v.config, tmp_path / "new" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["{ckpt}", "--preset=t2v-9"], "invalid choice"),
        (["{ckpt}"], "--preset --config"),
        (["{ckpt}", "--preset=t2v-512", "--config={config}"], "not allowed with"),
        (["{here}/nowhere.ckpt", "--preset=t2v-512"], "there is no such file"),
        (["{ckpt}", "--config={here}/nowhere.json"], "No such file"),
        (["{ckpt}", "--config={ckpt}"], "cannot be read as JSON"),
        (["{ckpt}", "--config={here}/list.json"], "does not hold a JSON object"),
        (["{ckpt}", "--config={here}/odd.json"], "config.unet_config: Field required"),
        (["{ckpt}", "--config={config}", "--output={here}"], "exists and is not empty"),
        (["{ckpt}", "--config={config}", "--output={config}"], "exists and is no folder"),
    ],
)
def test_wrong_usage_is_code_2(
    t2v: Recorded,
    config_file: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    text: str,
) -> None:
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "odd.json").write_text("{}")
    places = {"ckpt": t2v.checkpoint, "config": config_file, "here": tmp_path}
    before = sorted(tmp_path.rglob("*"))
    # Of an option that is given twice, the second counts.
    given = [f"--output={tmp_path / 'out'}", *(word.format(**places) for word in arguments)]
    code, out, err = run_cli(capfd, *given)
    assert (code, out) == (2, "")
    assert text in err
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_checkpoint_that_does_not_fit_is_code_1_and_one_line(
    t2v: Recorded, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    code, out, err = run_cli(capfd, t2v.checkpoint, "--preset=t2v-512", f"--output={output}")
    assert (code, out) == (1, "")
    assert "do not fit the configuration" in err
    assert len(err.splitlines()) == 1
    assert not output.exists()


def test_an_output_that_cannot_be_written_is_code_1(
    t2v: Recorded, config_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = config_file / "out"
    code, out, err = run_cli(capfd, t2v.checkpoint, f"--config={config_file}", f"--output={output}")
    assert (code, out) == (1, "")
    assert "cannot be written" in err
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_leaves_nothing(t2v: Recorded, config_file: Path, tmp_path: Path) -> None:
    """The command interrupts itself at its first progress, so that no timing is involved."""
    script = f"""if True:
        import os, signal, sys
        from engine.checkpoints.original import convert
        whole = convert._write_component
        def part(*arguments):
            for written in whole(*arguments):
                yield written
                os.kill(os.getpid(), signal.{signal.SIGINT.name})
        convert._write_component = part
        from engine.__main__ import main
        sys.exit(main(["convert", {str(t2v.checkpoint)!r}, "--config", {str(config_file)!r},
                       "--output", {str(tmp_path / "out")!r}]))
    """
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "Interrupted."
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
