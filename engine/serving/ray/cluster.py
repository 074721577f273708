"""Ray cluster: the connection to it, and all that the engine asks of Ray."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from engine.errors import EngineError
from engine.settings import EngineSettingsError

logger = logging.getLogger(__name__)

_NAMESPACE: Final = "floor33"
_STORE_BYTES: Final = 256 * 2**20
"""Object store of a cluster of our own: clips are a few MB; Ray would take a third of all."""

_OF_OUR_OWN: Final = {
    # Ray reports on its use to its makers unless it is told not to.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Actors stand in for threads of this process, and must not yield to everything else.
    "RAY_worker_niceness": "0",
}


class ClusterError(EngineError, RuntimeError):
    """The cluster cannot be reached, or does not do what it is asked."""


def require_ray() -> None:
    """Refuse to go on without Ray. Raises EngineSettingsError."""
    if importlib.util.find_spec("ray") is None:
        raise EngineSettingsError(
            "backend", "\"ray\" needs the package ray: pip install 'floor33[ray]'"
        )


class RayCluster:
    """A connection of this process to a cluster: one that exists, or one for this process alone.

    There is one connection for a process. One that the process has already is used and left alone.

    The thread that opens a session must live until it is closed: the processes of a cluster of our
    own end with the thread that started them.

    Args:
        address: "auto", "host:port" or "ray://host:port"; None: the cluster that this machine is
            a node of, or else one of our own.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._ray: Any = None
        self._borrowed = False

    def open(self) -> None:
        """Connect.

        Raises:
            ClusterError: it is not there, or is of another version.
        """
        # Only here: it is an optional extra, and takes a second to import.
        ray = importlib.import_module("ray")
        self._borrowed = ray.is_initialized()
        if not self._borrowed:
            try:
                self._connect(ray)
            # Ray raises errors of a dozen kinds here.
            except Exception as error:
                ray.shutdown()
                raise ClusterError(_first_line(error)) from error
        self._ray = ray

    def _connect(self, ray: Any) -> None:
        # Nothing of Ray's belongs on our standard output.
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": _NAMESPACE}
        try:
            ray.init(address=self._address or "auto", **quiet)
        except ConnectionError:
            if self._address is not None:
                raise
            with _environment(_OF_OUR_OWN):
                ray.init(
                    address="local",
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES,
                    **quiet,
                )
            logger.info("started Ray on this machine")

    def close(self) -> None:
        """Disconnect; a cluster of our own ends."""
        if self._ray is not None and not self._borrowed:
            self._ray.shutdown(wait_for_processes=True)
        self._ray = None

    def gpus(self) -> int:
        """GPUs that the cluster has at the moment, busy or not. Raises ClusterError."""
        with self._translated():
            return int(self._ray.cluster_resources().get("GPU", 0))

    def start(self, kind: type, arguments: tuple[object, ...], options: Mapping[str, Any]) -> Any:
        """Ask for an actor; returns its handle, at once. Raises ClusterError."""
        with self._translated():
            # A lost actor is replaced by us, and nothing is sent twice behind our back.
            never = {"max_restarts": 0, "max_task_retries": 0}
            return self._ray.remote(kind).options(**options, **never).remote(*arguments)

    def call(self, actor: Any, method: str, *arguments: object) -> Any:
        """Call a method; returns a reference to the answer, at once. Raises ClusterError."""
        with self._translated():
            return getattr(actor, method).remote(*arguments)

    def arrived(self, reference: Any, timeout_s: float) -> bool:
        """Wait so long for an answer; returns True if it, or its failure, is there."""
        with self._translated():
            ready, _ = self._ray.wait([reference], timeout=timeout_s)
            return bool(ready)

    def get(self, reference: Any, timeout_s: float) -> Any:
        """Return an answer. Raises ClusterError: it failed, or did not come in time."""
        with self._translated():
            return self._ray.get(reference, timeout=timeout_s)

    def kill(self, actor: Any) -> None:
        """End an actor's process, wherever it is. Raises ClusterError."""
        with self._translated():
            self._ray.kill(actor)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise ClusterError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    """Ray's messages go on for pages; the traceback of an actor's error is at their end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables for the processes that are started meanwhile; those that are set stay."""
    added = [name for name in changes if name not in os.environ]
    os.environ.update({name: changes[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
