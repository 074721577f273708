"""The memory of CUDA devices, read when the metrics are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class GpuMemory(Collector):
    """The memory that this process holds on each CUDA device, and that the device has left.

    Args:
        devices: torch device names; those that are no CUDA devices are left out.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self._devices = [device for device in devices if device.startswith("cuda")]

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics of `collect`, empty: the registry need not ask the devices for them."""
        yield from self._families()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The figures of now."""
        allocated, reserved, free, total = self._families()
        for device in self._devices:
            label = [device]
            allocated.add_metric(label, torch.cuda.memory_allocated(device))
            reserved.add_metric(label, torch.cuda.memory_reserved(device))
            left, size = torch.cuda.mem_get_info(device)
            free.add_metric(label, left)
            total.add_metric(label, size)
        yield from (allocated, reserved, free, total)

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, ...]:
        texts = {
            "allocated": "Held by this process's tensors",
            "reserved": "Held by this process, caches included",
            "free": "Free on the device, for any process",
            "total": "Of the device",
        }
        return tuple(
            GaugeMetricFamily(f"floor33_gpu_memory_{name}_bytes", text, labels=["device"])
            for name, text in texts.items()
        )
