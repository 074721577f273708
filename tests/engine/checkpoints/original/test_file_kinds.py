"""An original checkpoint that is not what its name says is read, or told by what it is.

Kinds seen elsewhere: OmniParser#18, MFTCoder#20 (a pointer of Git LFS instead of the weights),
ComfyUI#600; safetensors files that people rename to .ckpt.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.checkpoints import ModelLoadError
from engine.checkpoints.original.files import read_checkpoint

TENSORS = {"model.weight": torch.ones(3, 4), "model.bias": torch.zeros(3)}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 10\n"
NAMES = ["model.ckpt", "model.pt", "model.bin", "model.SAFETENSORS", "model.safetensors", "model"]


@pytest.mark.parametrize("name", NAMES)
def test_safetensors_under_any_name(tmp_path: Path, name: str) -> None:
    save_file(TENSORS, tmp_path / name)
    assert torch.equal(read_checkpoint(tmp_path / name)["model.weight"], TENSORS["model.weight"])


@pytest.mark.parametrize("name", NAMES)
def test_what_torch_saved_under_any_name(tmp_path: Path, name: str) -> None:
    torch.save(TENSORS, tmp_path / name)
    assert torch.equal(read_checkpoint(tmp_path / name)["model.weight"], TENSORS["model.weight"])


KINDS: dict[str, tuple[bytes, str]] = {
    "a pointer": (POINTER, "LFS"),
    "a web page": (b"\n<!doctype html><title>404</title>", "web page"),
    "a server's XML": (b'<?xml version="1.0"?><Error/>', "web page"),
    "a server's JSON": (b'{"error": "Repository not found"}', "error message"),
    "a packed archive": (b"\x1f\x8b\x08\x00" + bytes(99), "gzip"),
    "another format": (b"GGUF\x03\x00\x00\x00" + bytes(99), "GGUF"),
    "nothing": (b"", "empty"),
}


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
@pytest.mark.parametrize(("content", "text"), KINDS.values(), ids=KINDS)
def test_something_else_is_told_by_what_it_is(
    tmp_path: Path, name: str, content: bytes, text: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelLoadError, match=text):
        read_checkpoint(tmp_path / name)


def test_tensors_without_values_are_told_as_such(tmp_path: Path) -> None:
    torch.save({"a": torch.empty(3, device="meta")}, tmp_path / "model.ckpt")
    with pytest.raises(ModelLoadError, match=r"without values.*: a"):
        read_checkpoint(tmp_path / "model.ckpt")


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.ckpt")
    with pytest.raises(ModelLoadError, match="no regular file"):
        read_checkpoint(tmp_path / "model.ckpt")
