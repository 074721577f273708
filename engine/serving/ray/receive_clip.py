"""Store a clip that was made on another machine among those of this one."""

from __future__ import annotations

from dataclasses import replace

from engine.serving.events import Cancelled, Finished, GenerationResult, Terminal
from engine.serving.execution.failures import failure_of
from engine.serving.execution.output_files import output_paths, publish_files, staged
from engine.serving.job_handle import JobHandle
from engine.serving.ray.protocol import ClipFiles
from engine.settings import EngineSettings


def store_remote_clip(
    job: JobHandle, result: GenerationResult, files: ClipFiles, settings: EngineSettings
) -> Terminal:
    """Write the clip and its sidecar, both or neither, unless nobody wants them any more.

    Args:
        job: whose clip it is.
        result: with the paths of the other machine.
        files: what lay there.
        settings: the engine's.

    Returns:
        How the job ends.
    """
    if job.cancel_requested:
        return Cancelled()
    try:
        paths = output_paths(settings.output_dir, job.id, private=settings.private_files)
        with staged(paths) as hidden:
            hidden.clip.write_bytes(files.clip)
            hidden.sidecar.write_bytes(files.sidecar)
            publish_files(hidden, paths, private=settings.private_files)
    except OSError as error:
        return failure_of(error, job.id)
    return Finished(replace(result, path=paths.clip, sidecar=paths.sidecar))
