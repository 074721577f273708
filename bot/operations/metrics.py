"""The metrics of the bot, for Prometheus.

One object owns every metric; there is no global registry. Its methods are cheap, return at once,
never raise, and may be called from any thread. Names follow
https://prometheus.io/docs/practices/naming/: seconds and bytes, counters ending in `_total`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

logger = logging.getLogger(__name__)

EditOutcome = Literal["done", "failed", "refused"]

_SHORT_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0)
_LONG_S: Final = (1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1200, 3600, 7200, 21600)
_WRITE_S: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Metrics:
    """Counters of one bot. Labels come from small fixed sets: never a user, a prompt or a job."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # process_resident_memory_bytes and others
        self._jobs()
        self._delivery()
        self._machine()

    # ------------------------------------------------------------------------- jobs

    def job_accepted(self, kind: str, model: str) -> None:
        """A job was stored; `kind` is the command that asked for it."""
        self._accepted.labels(kind, model).inc()

    def job_started(self, model: str, waited_s: float) -> None:
        """A worker took a job, so many seconds after it was asked for.

        Less than none, after the clock was put back, counts as none.
        """
        self._waited.labels(model).observe(max(0.0, waited_s))

    def job_rendered(self, model: str, device: str, run_s: float, steps: int) -> None:
        """A clip was made in so many seconds of a device and so many denoising steps."""
        self._run.labels(model, device).observe(max(0.0, run_s))
        self._steps.labels(model, device).inc(steps)
        if run_s > 0:
            self._speed.labels(model, device).set(steps / run_s)

    def job_ended(self, state: str, reason: str | None = None) -> None:
        """A job ended: delivered, failed or cancelled; `reason` is a failure's, in one word."""
        self._ended.labels(state, reason or "").inc()

    def job_retried(self, reason: str) -> None:
        """A job is run again; `reason` in one word, e.g. "out_of_memory", "worker_lost"."""
        self._retried.labels(reason).inc()

    # --------------------------------------------------------------------- delivery

    def acknowledged(self, command: str, seconds: float) -> None:
        """A command was answered so long after Discord sent it; it gives the bot 3 s.

        The two clocks may differ: less than none counts as none.
        """
        self._acknowledged.labels(command).observe(max(0.0, seconds))

    def discord_edited(self, outcome: EditOutcome = "done") -> None:
        """A card was edited or sent: done, failed (it may be tried again), or refused."""
        self._edits.labels(outcome).inc()

    def rate_limited(self, seconds: float) -> None:
        """Discord wanted us to wait so long."""
        self._limited.inc()
        self._limited_s.inc(max(0.0, seconds))

    def event_skipped(self, event: str) -> None:
        """Something that the gateway sent could not be read; `event` as Discord calls it."""
        self._skipped.labels(event).inc()

    def upload_retried(self, reason: str) -> None:
        """A clip was sent again; `reason`: "too_large", "server_error" or "network"."""
        self._uploads.labels(reason).inc()

    def upload_encoded(self, form: str) -> None:
        """A clip was encoded anew, for its size or its format ("mp4", "gif", "webp")."""
        self._encoded.labels(form).inc()

    # ---------------------------------------------------------------------- machine

    def database_waited(self, seconds: float) -> None:
        """See `bot.store.Observer`."""
        self._write_wait.observe(max(0.0, seconds))

    def database_failed(self, kind: str) -> None:
        """See `bot.store.Observer`."""
        self._write_failed.labels(kind).inc()

    def files_expired(self, clips: int, size: int) -> None:
        """Retention removed the files of so many clips and so many bytes, pictures included."""
        self._expired.inc(clips)
        self._expired_bytes.inc(size)

    def watch(
        self,
        *,
        waiting: Callable[[], int],
        running: Callable[[], int],
        free_bytes: Callable[[], float],
        gateway: Callable[[], bool],
        lag_s: Callable[[], float],
    ) -> None:
        """Ask these whenever the metrics are read."""
        for state, count in (("waiting", waiting), ("running", running)):
            self._queue.labels(state).set_function(_safely(count))
        self._free.set_function(_safely(free_bytes))
        self._gateway.set_function(_safely(gateway))
        self._lag.set_function(_safely(lag_s))

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Everything in the text format that an Accept header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    # ------------------------------------------------------------------------- made

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"floor33_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"floor33_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(f"floor33_{name}", text, labels, registry=self.registry, buckets=buckets)

    def _jobs(self) -> None:
        self._accepted = self._counter("jobs_accepted", "Jobs stored", "kind", "model")
        self._ended = self._counter("jobs_ended", "Jobs that ended", "state", "reason")
        self._retried = self._counter("jobs_retried", "Jobs run again", "reason")
        self._queue = self._gauge("queue_jobs", "Jobs in the engine", "state")
        self._waited = self._histogram(
            "job_wait_seconds", "From the request to a worker", "model", buckets=_LONG_S
        )
        self._run = self._histogram(
            "job_run_seconds", "Rendering of a clip", "model", "device", buckets=_LONG_S
        )
        self._steps = self._counter("steps", "Denoising steps", "model", "device")
        self._speed = self._gauge(
            "steps_per_second", "Of the last clip, encoding included", "model", "device"
        )

    def _delivery(self) -> None:
        self._acknowledged = self._histogram(
            "acknowledge_seconds", "From a command to its first answer", "command", buckets=_SHORT_S
        )
        self._edits = self._counter("discord_edits", "Cards edited or sent", "outcome")
        self._limited = self._counter("discord_rate_limits", "Answers with status 429")
        self._limited_s = self._counter(
            "discord_rate_limit_wait_seconds", "Waiting that Discord asked for"
        )
        self._skipped = self._counter(
            "discord_events_skipped", "Events that could not be read", "event"
        )
        self._uploads = self._counter("upload_retries", "Clips sent again", "reason")
        self._encoded = self._counter("upload_encodings", "Clips encoded for the upload", "format")

    def _machine(self) -> None:
        self._write_wait = self._histogram(
            "database_write_wait_seconds", "Writes waiting for others", buckets=_WRITE_S
        )
        self._write_failed = self._counter("database_errors", "Failed transactions", "trouble")
        self._expired = self._counter("expired_clips", "Clips whose files retention removed")
        self._expired_bytes = self._counter("expired_bytes", "Bytes that retention freed")
        self._free = self._gauge("disk_free_bytes", "Free where the data folder is")
        self._gateway = self._gauge("gateway_connected", "1 while Discord's gateway is there")
        self._lag = self._gauge("loop_lag_seconds", "How late the event loop ran last")


def _safely(read: Callable[[], float]) -> Callable[[], float]:
    """NaN where reading fails: one broken gauge must not hide the others."""

    def value() -> float:
        try:
            return float(read())
        except Exception:  # the boundary of a scrape
            logger.debug("a metric could not be read", exc_info=True)
            return float("nan")

    return value
