"""Keep what is known of an unfinished job, for its progress message and the metrics."""

from __future__ import annotations

import time

import discord

from bot.context import Services
from bot.messages.cards import Phase, Snapshot
from bot.store import GenerationRecord, JobRecord
from engine.serving import Progress, Queued, ResolvedSettings, Started


class JobTracker:
    """Takes in the engine's events of one job.

    Attributes:
        snapshot: the state that the progress message shows.
        device: the kind of device that the job was started on; None before that.
    """

    def __init__(self, services: Services, *, resumed: bool) -> None:
        self.snapshot = Snapshot(resumed=resumed)
        self.device: str | None = None
        self._services = services
        self._began = 0.0

    def enter_expansion(self) -> None:
        """Note that the prompt is being expanded."""
        self.snapshot.phase = Phase.EXPANDING

    def note_unread(self, settings: ResolvedSettings) -> None:
        """Note the ends of the prompts that the model does not read."""
        self.snapshot.unread = settings.unread
        self.snapshot.unread_negative = settings.unread_negative

    def on_event(self, event: Queued | Started | Progress, job: JobRecord) -> bool:
        """Take in an event; return whether the job was started for the first time in this run."""
        snapshot = self.snapshot
        match event:
            case Queued(position, wait_s, wait_error):
                snapshot.phase, snapshot.position = Phase.QUEUED, position
                snapshot.wait_s, snapshot.wait_error = wait_s, wait_error
            case Started(device):
                return self._start(device, job)
            case Progress(step, total_steps, preview):
                snapshot.phase = Phase.RENDERING
                snapshot.step, snapshot.total_steps = step, total_steps
                snapshot.elapsed_s = time.perf_counter() - self._began
                snapshot.preview = preview or snapshot.preview
        return False

    def on_rendered(self, generation: GenerationRecord) -> None:
        """Count the finished clip."""
        params = generation.params
        self._services.metrics.job_rendered(
            params.model, generation.device or "", generation.elapsed_s, params.steps
        )

    def _start(self, device: str, job: JobRecord) -> bool:
        again = self.device is not None  # its first machine was lost
        self._began = time.perf_counter()
        self.device = self._services.engine.kind_of(device)
        self.snapshot.phase = Phase.RENDERING
        metrics = self._services.metrics
        if again:
            metrics.job_retried("worker_lost")
            return False
        if job.attempts > 0:
            metrics.job_retried("restart")
        waited = discord.utils.utcnow() - job.created_at
        metrics.job_started(job.params.model, max(0.0, waited.total_seconds()))
        return True
