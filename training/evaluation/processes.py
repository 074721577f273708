"""Making clips on all cores: one process each, with a pipeline of its own.

One thread per process and several processes make more clips a minute than several threads of one
process, since the demo models' layers are small.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache

import torch
from tqdm import tqdm

from engine.checkpoints import ModelCard, load_pipeline
from engine.pipelines import Pipeline
from training.evaluation.clips import ClipJob, Sampling, make_clips
from training.evaluation.measure import ClipGenerator
from training.evaluation.records import ClipRecord


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_generator(card: ModelCard, sampling: Sampling, processes: int) -> ClipGenerator:
    """Make clips with CPU pipelines of a ready model in several processes.

    The clips are those of one process, for each has noise of its own.

    Raises (from the generator):
        BrokenProcessPool: a process died, as when the system is out of memory.
        ModelLoadError, ValueError: as in one process.
    """

    def make(work: Sequence[Sequence[ClipJob]]) -> Iterable[tuple[int, list[ClipRecord]]]:
        threads = max(usable_cores() // processes, 1)
        others = set(multiprocessing.active_children())
        with ProcessPoolExecutor(
            processes,
            multiprocessing.get_context("spawn"),  # torch's threads do not survive a fork
            initializer=_begin,
            initargs=(threads,),
        ) as pool:
            futures = {
                pool.submit(_make, card, sampling, batch): number
                for number, batch in enumerate(work)
            }
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BaseException:  # also Ctrl-C, and a caller that stops listening
                # Without its processes the pool gives up what is left to do.
                for child in set(multiprocessing.active_children()) - others:
                    child.terminate()
                raise

    return make


def _begin(threads: int) -> None:
    """Set up a worker process."""
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends us
    # diffusers' bar would make a lock for several processes, which nobody frees when we are ended.
    tqdm.set_lock(threading.RLock())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # the pool's own threads would wait for work for ever


@cache
def _pipeline(card: ModelCard) -> Pipeline:
    return load_pipeline(card)


def _make(card: ModelCard, sampling: Sampling, batch: Sequence[ClipJob]) -> list[ClipRecord]:
    return make_clips(_pipeline(card), batch, sampling)
