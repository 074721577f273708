"""Device costs: estimated seconds of jobs on the devices of an engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from engine.serving.request import ResolvedSettings
from engine.serving.scheduling.cost_model import CostModel, Estimate, RequestShape


class DeviceCosts:
    """Estimates for jobs before it is known on which device they will run. Thread-safe.

    Args:
        kinds: the engine's devices, name to kind; devices of one kind are equally fast.
        estimator: what is known already.
    """

    def __init__(self, kinds: Mapping[str, str], estimator: CostModel | None = None) -> None:
        self._kinds = dict(kinds)
        self._estimator = estimator or CostModel()

    def set_kind(self, device: str, kind: str) -> None:
        """Set the kind of a device, as soon as it is known; a new name is one device more."""
        # A new mapping: other threads may be going through the old one.
        self._kinds = {**self._kinds, device: kind}

    @property
    def workers(self) -> int:
        """Number of jobs, or batches of them, that run at the same time."""
        return len(self._kinds)

    def estimate(self, settings: ResolvedSettings) -> Estimate:
        """Estimate the device time of a job run by itself.

        Where the devices differ, the harmonic mean: n devices that take s1 … sn seconds a job make
        1/s1 + … + 1/sn jobs a second together, as n devices do that take this time each.
        """
        work = shape_of(settings)
        each = [
            self._estimator.predict(replace(work, device=kind)) for kind in self._kinds.values()
        ]
        seconds = len(each) / sum(1 / one.seconds for one in each)
        return Estimate(seconds, sum(one.error for one in each) / len(each))

    def observe(self, settings: ResolvedSettings, device: str, seconds: float) -> None:
        """Learn from a job that a device, by its name, has run to its end."""
        kind = self._kinds.get(device, device)
        self._estimator.observe(shape_of(settings, kind), seconds)

    def learn(self, runs: Iterable[tuple[RequestShape, float]]) -> None:
        """Learn from past runs, the oldest first.

        One without a kind of device is taken for a run on each of the engine's: then it says at
        least how workloads compare, and the runs to come correct it.
        """
        kinds = sorted(set(self._kinds.values()))
        for work, seconds in runs:
            for kind in [work.device] if work.device else kinds:
                self._estimator.observe(replace(work, device=kind), seconds)


def shape_of(settings: ResolvedSettings, device: str = "") -> RequestShape:
    """Return the part of the settings that the time of a job depends on."""
    return RequestShape(
        model=settings.model.name,
        width=settings.params.width,
        height=settings.params.height,
        num_frames=settings.params.num_frames,
        steps=settings.params.steps,
        device=device,
    )
