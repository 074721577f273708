"""Files that are checkpoints in some wrapper, and files that are none."""

import os
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.checkpoints import ModelLoadError, OriginalCheckpointError, load_original
from engine.checkpoints.original.files import checkpoint_opener, read_checkpoint
from tests.engine.checkpoints.original.recorded import Recorded

State = dict[str, Tensor]
Save = Callable[[object], Path]


def under_state_dict(state: State) -> object:
    return {"state_dict": state, "epoch": 3}


def alone(state: State) -> object:
    return state


def of_deepspeed(state: State) -> object:
    return {"module": {f"_forward_module.{k}": v for k, v in state.items()}, "dp_world_size": 8}


def with_ema(state: State) -> object:
    copies = {f"model_ema.{k.replace('.', '')}": v + 1 for k, v in state.items()}
    return {"state_dict": state | copies | {"model_ema.decay": torch.tensor(0.9999)}}


def as_parameters(state: State) -> object:
    return {"state_dict": {name: torch.nn.Parameter(value) for name, value in state.items()}}


@pytest.mark.parametrize(
    "wrap",
    [under_state_dict, alone, of_deepspeed, with_ema, as_parameters],
    ids=lambda f: f.__name__,
)
def test_wrappers(t2v: Recorded, save: Save, wrap: Callable[[State], object]) -> None:
    state = t2v.state()
    path = save(wrap(state))
    tensors = read_checkpoint(path)
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)
    assert not any(tensor.requires_grad for tensor in tensors.values())
    load_original(path, t2v.config)


def test_safetensors_and_old_files(t2v: Recorded, tmp_path: Path) -> None:
    state = t2v.state()
    save_file(state, tmp_path / "model.safetensors")
    torch.save(state, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    for name in ("model.safetensors", "old.ckpt"):
        tensors = read_checkpoint(tmp_path / name)
        assert tensors.keys() == state.keys()
        assert all(torch.equal(tensors[key], state[key]) for key in state)


def test_in_a_folder_safetensors_are_preferred(tmp_path: Path) -> None:
    with pytest.raises(
        OriginalCheckpointError, match=r"neither model\.safetensors nor model\.ckpt"
    ):
        read_checkpoint(tmp_path)
    torch.save({"pickled": torch.zeros(1)}, tmp_path / "model.ckpt")
    assert read_checkpoint(tmp_path).keys() == {"pickled"}
    save_file({"plain": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert read_checkpoint(tmp_path).keys() == {"plain"}


class Hostile:
    """Makes a folder when a pickle of it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_that_wants_more_than_tensors_is_refused(tmp_path: Path, new_format: bool) -> None:
    victim, path = tmp_path / "victim", tmp_path / "model.ckpt"
    content = {"state_dict": {"betas": torch.zeros(2), "x": Hostile(victim)}}
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(ModelLoadError, match=r"it asks for \w+\.mkdir.*refused\.") as caught:
        load_original(path, "t2v-512")
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert not victim.exists()


def test_harmless_classes_are_refused_as_well(save: Save) -> None:
    path = save({"state_dict": {}, "when": datetime.now(UTC)})
    with pytest.raises(OriginalCheckpointError, match=r"asks for datetime\.\w+"):
        read_checkpoint(path)


def test_a_bare_pickle_is_refused_unread(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path, victim = tmp_path / "model.ckpt", tmp_path / "victim"
    path.write_bytes(pickle.dumps({"state_dict": Hostile(victim)}))
    with pytest.raises(OriginalCheckpointError, match="bare pickle"):
        read_checkpoint(path)
    assert not victim.exists()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("model.ckpt", b"", "damaged or no checkpoint"),
        ("model.ckpt", b"<html>not found</html>", "damaged or no checkpoint"),
        ("model.safetensors", b"junk" * 10, "damaged or no checkpoint"),
        ("model.safetensors", b"", "damaged or no checkpoint"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OriginalCheckpointError, match=text):
        read_checkpoint(tmp_path / name)


def test_a_truncated_file(t2v: Recorded, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(t2v.checkpoint.read_bytes()[:-5000])
    with pytest.raises(OriginalCheckpointError, match="damaged"):
        read_checkpoint(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(OriginalCheckpointError, match=r"There is no file .*nowhere\.ckpt"):
        read_checkpoint(tmp_path / "nowhere.ckpt")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([torch.zeros(1)], "no tensors by name"),
        ({"state_dict": {"a": torch.zeros(1), "step": 3}}, "1 entries that are no tensors: step"),
        ({"a": torch.zeros(3).to_sparse()}, "no tensors: a"),
        ({"module": {"x" * 16 + "a": torch.zeros(1), "b": torch.zeros(1)}}, "do not begin alike"),
    ],
)
def test_contents_of_another_kind(save: Save, content: object, text: str) -> None:
    with pytest.raises(OriginalCheckpointError, match=text):
        read_checkpoint(save(content))


def refusal(recorded: Recorded, state: State, save: Save) -> str:
    with pytest.raises(OriginalCheckpointError) as caught:
        load_original(save({"state_dict": state}), recorded.config)
    return str(caught.value)


def test_missing_left_over_and_misshapen_tensors_are_named(i2v: Recorded, save: Save) -> None:
    state = i2v.state()
    del state["embedder.model.visual.ln_post.weight"]
    state["first_stage_model.surprise"] = torch.zeros(1)
    state["image_proj_model.norm_out.bias"] = torch.zeros(5)
    state["cond_stage_model.model.logit_scale"] = torch.tensor(4)
    text = refusal(i2v, state, save)
    assert "1 missing: embedder.model.visual.ln_post.weight;" in text
    assert "1 left over: first_stage_model.surprise;" in text
    assert "1 of another shape: image_proj_model.norm_out.bias [5] instead of [8];" in text
    assert "1 no floating-point numbers: cond_stage_model.model.logit_scale." in text
    assert "\n" not in text


@pytest.mark.parametrize("name", ["posterior_variance", "scale_arr"])
def test_a_missing_buffer_counts(t2v: Recorded, save: Save, name: str) -> None:
    state = t2v.state()
    del state[name]
    assert f"1 missing: {name}." in refusal(t2v, state, save)


def test_unused_tensors_count_too(i2v: Recorded, save: Save) -> None:
    state = i2v.state()
    del state["embedder.model.token_embedding.weight"]
    assert "1 missing: embedder.model.token_embedding.weight." in refusal(i2v, state, save)


def test_another_model_is_refused_with_a_list_that_is_cut(t2v: Recorded, i2v: Recorded) -> None:
    with pytest.raises(OriginalCheckpointError) as caught:
        load_original(i2v.checkpoint, t2v.config)
    text = str(caught.value)
    assert " left over: " in text
    assert " missing: " in text
    assert " more" in text
    assert len(text) < 3000


def test_another_schedule_is_refused(t2v: Recorded, save: Save) -> None:
    state = t2v.state()
    state["betas"] = state["betas"] * 1.01
    assert "noise schedule" in refusal(t2v, state, save)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_every_opening_maps_the_file_anew_and_lets_go_of_the_one_before(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    large = {"a": torch.ones(2**23), "b": torch.ones(3)}  # 32 MiB
    if suffix == ".ckpt":
        torch.save(large, path)
    else:
        save_file(large, path)
    opened = checkpoint_opener(path)
    tensors = opened()
    again = opened()
    assert torch.equal(tensors["b"], again["b"])
    assert tensors["a"].data_ptr() != again["a"].data_ptr()
    assert mappings_of(path) == 2
    del again
    assert mappings_of(path) == 1
    del tensors
    assert mappings_of(path) == 0


def mappings_of(path: Path) -> int:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not tell what is mapped")
    return sum(line.endswith(str(path)) for line in maps.read_text().splitlines())


def test_what_cannot_be_mapped_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    opened = checkpoint_opener(path)
    path.unlink()
    assert opened()["a"].data_ptr() == opened()["a"].data_ptr()


def test_a_file_that_is_gone_at_the_second_opening_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"a": torch.ones(3)}, path)
    opened = checkpoint_opener(path)
    opened()
    path.unlink()
    with pytest.raises(OriginalCheckpointError, match="There is no file"):
        opened()
    with pytest.raises(OriginalCheckpointError, match="There is no file"):
        checkpoint_opener(path)
