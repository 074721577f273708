"""Metrics, one file for those of a kind; a file that is added here is found."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from training.evaluation.metrics.metric import Metric


def find_metrics() -> tuple[Metric, ...]:
    """Return the metrics of all files of this package, in the order of files and lists.

    Raises:
        ValueError: two have the same name.
    """
    found: dict[str, Metric] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        metrics: tuple[Metric, ...] = getattr(
            import_module(f"{__name__}.{module.name}"), "METRICS", ()
        )
        for metric in metrics:
            if metric.name in found:
                raise ValueError(f"two metrics are called {metric.name}")
            found[metric.name] = metric
    return tuple(found.values())
