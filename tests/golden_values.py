"""The recorded reference values in the repository, made into the files that tests read."""

import json
import lzma
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor


def unpack(source: Path, target: Path) -> Path:
    """Write all recorded files of `source`, which are compressed, to `target`."""
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.suffix in {".xz", ".json"}:
            copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".xz":
            copy.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        elif path.suffix == ".json":
            copy.write_bytes(path.read_bytes())
    for drawn in target.rglob("drawn.json"):
        _write_checkpoint(drawn.parent)
    return target


def has_values(item: pytest.Item, folder: Path) -> bool:
    """Return whether the recorded values that a test needs are in the folder.

    ``@pytest.mark.recorded("vae/weights.safetensors")`` names a file, in which parameters of the
    test may stand in braces. With keywords, such as ``either="i2v"``, only tests of these
    parameters need it.
    """
    marker = item.get_closest_marker("recorded")
    if marker is None:
        return True
    call = getattr(item, "callspec", None)  # only of tests with parameters
    parameters = {} if call is None else call.params
    if any(parameters.get(name) != value for name, value in marker.kwargs.items()):
        return True
    file = folder / marker.args[0].format(**parameters)
    return file.is_file() or file.with_name(f"{file.name}.xz").is_file()


def _write_checkpoint(folder: Path) -> None:
    """Make `model.ckpt` of the tensors that were recorded and of drawn ones."""
    state = load_file(folder / "model.safetensors")
    rows, values = state.pop("rows", None), state.pop("values", None)
    draw = torch.Generator().manual_seed(0)
    for name, shape in json.loads((folder / "drawn.json").read_text()).items():
        state[name] = _drawn(name, shape, draw)
        if rows is not None and name.endswith("token_embedding.weight"):
            state[name][rows] = values
    torch.save({"state_dict": state}, folder / "model.ckpt")


def _drawn(name: str, shape: list[int], draw: torch.Generator) -> Tensor:
    values = torch.randn(shape, generator=draw)
    if len(shape) > 1:
        return values / values[0].numel() ** 0.5
    return 0.1 * values + (1.0 if name.endswith(".weight") else 0.0)
