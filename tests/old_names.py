"""Modules under the names that they had before the tree was put in order.

Tests that were written against the earlier tree, on a branch or elsewhere, run unchanged for one
release. Nothing in the repository itself uses these names.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

NAMES = {
    "bot.acknowledge": "bot.messages.acknowledge",
    "bot.admission": "bot.jobs.admission",
    "bot.background": "bot.tasks",
    "bot.cards": "bot.messages.cards",
    "bot.checks": "bot.doctor",
    "bot.checks.discord": "bot.doctor.discord",
    "bot.checks.machine": "bot.doctor.machine",
    "bot.checks.models": "bot.doctor.models",
    "bot.checks.privacy": "bot.doctor.privacy",
    "bot.checks.report": "bot.doctor.report",
    "bot.checks.service": "bot.doctor.service",
    "bot.delivery": "bot.messages.job_message",
    "bot.dispatch": "bot.jobs.runner",
    "bot.engine_settings": "bot.settings.engine",
    "bot.handover": "bot.jobs.delivery",
    "bot.installing": "bot.lifecycle.install_models",
    "bot.invisible": "bot.messages.invisible",
    "bot.livecard": "bot.messages.progress",
    "bot.operators": "bot.commands.operators",
    "bot.orders": "bot.jobs.parameters",
    "bot.outputs": "bot.store.clip_files",
    "bot.ownership": "bot.lease",
    "bot.pace": "bot.messages.throttle",
    "bot.packing": "bot.jobs.fit_upload",
    "bot.paths": "bot.store.paths",
    "bot.ratings": "bot.commands.reactions",
    "bot.registration": "bot.lifecycle.sync_commands",
    "bot.services": "bot.context",
    "bot.startup": "bot.lifecycle.requirements",
    "bot.steadfast": "bot.store.retry",
    "bot.store.backup": "bot.store.maintenance.backup",
    "bot.store.convert": "bot.store.mapping",
    "bot.store.database": "bot.store.session",
    "bot.store.history": "bot.store.queries",
    "bot.store.lost": "bot.store.maintenance.lost",
    "bot.store.migrate": "bot.store.maintenance.migrate",
    "bot.store.models": "bot.store.tables",
    "bot.store.part": "bot.store.repository",
    "bot.store.postgres": "bot.store.backends.postgres",
    "bot.store.restore": "bot.store.maintenance.restore",
    "bot.store.sqlite": "bot.store.backends.sqlite",
    "bot.studio": "bot.jobs.service",
    "bot.sync": "bot.lifecycle.sync",
    "bot.text": "bot.messages.text",
    "bot.thumbs": "bot.messages.thumbs",
    "bot.views": "bot.messages.buttons",
    "bot.warmup": "bot.lifecycle.warmup",
    "engine.checkpoints.building": "engine.checkpoints.loading.building",
    "engine.checkpoints.card": "engine.checkpoints.folder.card",
    "engine.checkpoints.folder.text": "common.text",
    "engine.checkpoints.original.errors": "engine.checkpoints.errors",
    "engine.checkpoints.original.facts": "engine.checkpoints.original.metadata",
    "engine.models.original": "engine.models.original_names",
    "engine.models.stage": "engine.models.unet_block",
    "prompt_expansion.fitting": "prompt_expansion.truncation",
    "prompt_expansion.line": "prompt_expansion.concurrency",
    "prompt_expansion.verbatim": "prompt_expansion.no_op",
    "engine.checkpoints.facts": "engine.checkpoints.folder.metadata",
    "engine.checkpoints.fuse": "engine.checkpoints.loading.lora_load",
    "engine.checkpoints.hub_answers": "engine.checkpoints.hub.http_errors",
    "engine.checkpoints.install": "engine.checkpoints.hub.install",
    "engine.checkpoints.load": "engine.checkpoints.loading.load",
    "engine.checkpoints.lora": "engine.checkpoints.folder.lora",
    "engine.checkpoints.new_folder": "engine.checkpoints.folder.atomic_dir",
    "engine.checkpoints.progress": "engine.checkpoints.hub.progress",
    "engine.checkpoints.published": "engine.checkpoints.hub.published",
    "engine.checkpoints.transfer": "engine.checkpoints.hub.download",
    "engine.checkpoints.weights": "engine.checkpoints.folder.weights",
    "engine.serving.capacity": "engine.serving.execution.memory_planner",
    "engine.serving.costs": "engine.serving.scheduling.costs",
    "engine.serving.crew": "engine.serving.workers.pool",
    "engine.serving.devices": "engine.serving.workers.devices",
    "engine.serving.encode": "engine.serving.media.mp4",
    "engine.serving.estimate": "engine.serving.scheduling.cost_model",
    "engine.serving.failures": "engine.serving.execution.failures",
    "engine.serving.fairqueue": "engine.serving.scheduling.fair_queue",
    "engine.serving.ffmpeg": "engine.serving.media.ffmpeg",
    "engine.serving.fit": "engine.serving.media.size_limit",
    "engine.serving.formats": "engine.serving.media.gif_webp",
    "engine.serving.hand": "engine.serving.workers.worker_thread",
    "engine.serving.interrupts": "engine.serving.cancellation",
    "engine.serving.job": "engine.serving.job_handle",
    "engine.serving.jobqueue": "engine.serving.scheduling.scheduler",
    "engine.serving.ladder": "engine.serving.media.size_search",
    "engine.serving.load_options": "engine.settings",
    "engine.serving.memory": "engine.serving.backends.options",
    "engine.serving.model_memory": "engine.serving.execution.model_memory",
    "engine.serving.models": "engine.serving.execution.pipeline_cache",
    "engine.serving.options": "engine.settings",
    "engine.serving.output": "engine.serving.execution.output_files",
    "engine.serving.party": "engine.serving.execution.batch",
    "engine.serving.picture_files": "engine.serving.media.image_metadata",
    "engine.serving.pictures": "engine.serving.media.input_images",
    "engine.serving.places": "engine.serving.scheduling.queue_view",
    "engine.serving.preview": "engine.serving.execution.previews",
    "engine.serving.probe": "engine.serving.media.probe",
    "engine.serving.prompt_meter": "engine.serving.backends.clip_prompts",
    "engine.serving.execution.memory": "engine.serving.backends.options",
    "engine.serving.ray.inbox": "engine.serving.ray.batch_queue",
    "engine.serving.ray.crew": "engine.serving.ray.pool",
    "engine.serving.ray.link": "engine.serving.ray.actor_client",
    "engine.serving.ray.losses": "engine.serving.ray.crash_counter",
    "engine.serving.ray.orders": "engine.serving.ray.protocol",
    "engine.serving.ray.receive": "engine.serving.ray.receive_clip",
    "engine.serving.ray.session": "engine.serving.ray.cluster",
    "engine.serving.render": "engine.serving.execution.batch_runner",
    "engine.serving.requests": "engine.serving.request",
    "engine.serving.saving": "engine.serving.execution.save_clip",
    "engine.serving.settings": "engine.settings",
    "engine.serving.source": "engine.serving.workers.job_source",
    "engine.serving.unread": "engine.serving.backends.clip_prompts",
    "engine.serving.watchdog": "engine.serving.execution.watchdog",
    "engine.serving.worker": "engine.serving.workers.supervisor",
    "training.board": "training.loop.board",
    "training.checkpoint": "training.loop.checkpoint",
    "training.counting": "training.planning.flop_counter",
    "training.data.world": "training.data.synthetic",
    "training.evaluation.bars": "training.evaluation.targets",
    "training.evaluation.estimates": "training.evaluation.intervals",
    "training.evaluation.figures": "training.evaluation.clip_metrics",
    "training.evaluation.flow": "training.evaluation.metrics.optical_flow",
    "training.evaluation.page": "training.evaluation.html_report",
    "training.devices": "training.loop.devices",
    "training.distributed": "training.loop.distributed",
    "training.ema": "training.loop.ema",
    "training.hardware": "training.planning.hardware",
    "training.hub": "training.recipe.hub",
    "training.initialise": "training.stages.initialise",
    "training.inputs": "training.recipe.inputs",
    "training.log": "training.loop.log",
    "training.lora": "training.stages.lora",
    "training.memory": "training.loop.memory",
    "training.objective": "training.stages.objective",
    "training.plan": "training.planning.plan",
    "training.progress": "training.loop.progress",
    "training.run_folder": "training.loop.run_folder",
    "training.sections": "training.recipe.sections",
    "training.shapes": "training.recipe.shapes",
    "training.sharding": "training.loop.sharding",
    "training.skeletons": "training.planning.meta_components",
    "training.stages.conditions": "training.stages.conditioning",
    "training.stages.parts": "training.stages.components",
    "training.stopping": "training.loop.stopping",
    "training.task": "training.loop.task",
    "training.tokenizer": "training.stages.tokenizer",
    "training.workload": "training.planning.workload",
}


class OldNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import a module by its earlier name: the same module object, not a copy."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in NAMES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(NAMES[module.__name__])


def install() -> None:
    """Let the import system know the earlier names; once is enough."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldNames())
