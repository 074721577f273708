"""TensorBoard: figures as curves, samples as picture grids; and the grids as PNG files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from training.loop.task import Samples

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Board:
    """Writes to ``<run>/tensorboard`` where the package is installed, and to ``<run>/samples``.

    Args:
        folder: of the run.
        step: where the run goes on; curves of later steps are cut off.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._pictures = folder / "samples"
        self._writer = _writer(folder / "tensorboard", step)

    def figures(self, line: Mapping[str, float]) -> None:
        """Add a line of the log to the curves."""
        if self._writer is None:
            return
        step = int(line["step"])
        for name, value in line.items():
            if name != "step":
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def samples(self, step: int, samples: Samples) -> None:
        """Show samples: a row each, with its caption beside the grid."""
        grid = picture_grid(samples.pictures)  # [3, H, W]
        self._pictures.mkdir(exist_ok=True)
        bytes_of = (grid.movedim(0, -1) * 255).round().byte().numpy()
        Image.fromarray(bytes_of).save(self._pictures / f"step-{step:06d}.png")
        if self._writer is not None:
            self._writer.add_image("samples", grid, step)
            rows = "\n".join(f"{n}. {text}" for n, text in enumerate(samples.captions, 1))
            self._writer.add_text("samples", rows, step)
            self._writer.flush()

    def close(self) -> None:
        """End the event file."""
        if self._writer is not None:
            self._writer.close()


def picture_grid(pictures: Tensor) -> Tensor:
    """``[N, K, 3, H, W]`` in [0, 1], a row for each N: ``-> [3, N*H, K*W]`` on the CPU."""
    rows, columns, channels, height, width = pictures.shape
    grid = pictures.detach().float().cpu().clamp(0, 1).permute(2, 0, 3, 1, 4)  # [3, N, H, K, W]
    return grid.reshape(channels, rows * height, columns * width)


def _writer(folder: Path, step: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print(
            "training: no curves: pip install 'floor33[training]' for TensorBoard", file=sys.stderr
        )
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
