"""The published models: where on the hub their checkpoints lie, and what is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from engine.checkpoints.disk import gigabytes
from engine.checkpoints.folder.card import ModelCard, ready_card
from engine.checkpoints.folder.metadata import ModelMetadata
from engine.checkpoints.original.metadata import folder_metadata
from engine.checkpoints.original.presets import PRESETS, Preset

_SIZE_DIVISOR: Final = 64  # pixels: three halvings in the autoencoder, three in the UNet


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """A checkpoint on the model hub that can be installed by name.

    Attributes:
        preset: its architecture and what its authors sample it with.
        hub_repo: the repository.
        download_bytes: about what the file has; the hub states it exactly.
        filename: the checkpoint in the repository.
        revision: what is installed unless the user names another: a branch, a tag or a commit. A
            branch is resolved to a commit at the download, which the installed folder states.
        sha256: of the file, where it is known beforehand; else the hub's is recorded.
    """

    preset: Preset
    hub_repo: str
    download_bytes: int
    filename: str = "model.ckpt"
    revision: str = "main"
    sha256: str | None = None

    @property
    def name(self) -> str:
        """Name of the model, and of its folder."""
        return self.preset.name

    @property
    def metadata(self) -> ModelMetadata:
        """Metadata that its folder will state, except for the origin."""
        return folder_metadata(
            self.preset.config, preset=self.preset, folder=self.name, size_divisor=_SIZE_DIVISOR
        )

    @property
    def facts(self) -> ModelMetadata:
        """The earlier name of `metadata`, kept for one release."""
        return self.metadata

    @property
    def install_command(self) -> str:
        """Command that an operator types."""
        return f"python -m engine install {self.name}"

    @property
    def offer(self) -> str:
        """One sentence for the operator before anything is fetched."""
        return (
            f"{self.preset.title}: about {gigabytes(self.download_bytes)} from {self.hub_repo}; "
            f"licence: {self.metadata.licence}"
        )


def offered_card(model: PublishedModel, folder: Path) -> ModelCard:
    """Describe a published model that is not installed."""
    return replace(
        ready_card(model.name, folder, model.metadata, revision=""),
        installed=False,
        ready=False,
        problem=f"It is not installed: {model.install_command}",
    )


# The sizes are those of the tensors in single precision.
_ALL: Final = (
    PublishedModel(
        preset=PRESETS["t2v-1024"],
        hub_repo="VideoCrafter/Text2Video-1024",
        download_bytes=6_336_944_080,
    ),
    PublishedModel(
        preset=PRESETS["t2v-512"],
        hub_repo="VideoCrafter/Text2Video-512",
        download_bytes=6_328_737_840,
    ),
    PublishedModel(
        preset=PRESETS["i2v-512"],
        hub_repo="VideoCrafter/Image2Video-512",
        download_bytes=10_435_540_500,
    ),
    PublishedModel(
        preset=PRESETS["t2v-512-v2"],
        hub_repo="VideoCrafter/VideoCrafter2",
        download_bytes=7_403_937_296,
    ),
)

PUBLISHED: Final[Mapping[str, PublishedModel]] = MappingProxyType(
    {model.name: model for model in _ALL}
)
"""By name."""
