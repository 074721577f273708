"""Processes: this one, several on this machine, or those that ``accelerate launch`` started."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from training.errors import TrainingError
from training.loop.checkpoint import check_resumable
from training.loop.devices import open_accelerator
from training.loop.distributed import divided
from training.loop.stopping import ending_signals
from training.recipe.inputs import check_inputs
from training.recipe.model import Recipe, RecipeError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

_GRACE = 5.0
"""Seconds in which a process may still say what is wrong after another has failed."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of the command line besides the recipe.

    Attributes:
        folder: of the run.
        processes: to start on this machine, sharing each batch.
        threads: of torch in each; None for torch's choice, or one where there are several.
        cpu: leave accelerators alone.
        measure: measure the machine's peak first.
    """

    folder: Path
    processes: int = 1
    threads: int | None = None
    cpu: bool = False
    measure: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a process: exit code, message for the user, and whether it was foreseen."""

    code: int
    message: str = ""
    foreseen: bool = True


def train(recipe: Recipe, options: RunOptions) -> Outcome:
    """Train a recipe as the options and the environment say, and report how it ended."""
    try:
        launched = int(os.environ.get("WORLD_SIZE", "1"))
        if launched > 1 and options.processes > 1:
            raise RecipeError("--processes: not with a launcher, which starts the processes itself")
        plan = recipe.optimisation
        divided(plan.batch_size, max(launched, options.processes), plan.accumulate)
        check_inputs(recipe)
        check_resumable(options.folder, recipe)
    except (RecipeError, TrainingError) as error:
        return _foreseen(error)
    if options.processes == 1:
        return _guarded(recipe, options)
    return _spawn(recipe, options)


def _run(recipe: Recipe, options: RunOptions) -> None:
    import torch

    from training.loop.train import export_average, run
    from training.stages import make_task

    if options.threads:
        torch.set_num_threads(options.threads)
    with open_accelerator(recipe.optimisation.precision, cpu=options.cpu) as accelerator:
        torch.manual_seed(recipe.seed)  # the same first weights on every process
        with closing(make_task(recipe)) as task:
            run(task, recipe, options.folder, accelerator, measure=options.measure)
        sharded, main = accelerator.is_fsdp2, accelerator.is_main_process
    if sharded and main:
        with closing(make_task(recipe)) as task:
            export_average(task, recipe, options.folder)


def _guarded(recipe: Recipe, options: RunOptions) -> Outcome:
    """Train in this process; what a user can cause becomes a message, anything else is raised."""
    try:
        _run(recipe, options)
    except (RecipeError, TrainingError, OSError) as error:
        return _foreseen(error)
    return Outcome(0)


def _foreseen(error: Exception) -> Outcome:
    message = " ".join(str(error).split()) or type(error).__name__
    return Outcome(2 if isinstance(error, RecipeError) else 1, message)


def _worker(recipe: Recipe, options: RunOptions, rank: int, port: int, report: Connection) -> None:
    threads = options.threads or 1
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(options.processes),
        "LOCAL_WORLD_SIZE": str(options.processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(threads),
    }
    # The terminal sends Ctrl-C to all; the parent passes it on as SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        outcome = _guarded(recipe, options)
    except Exception:  # noqa: BLE001  # the parent shows it, once for all processes
        outcome = Outcome(1, traceback.format_exc(), foreseen=False)
    report.send(outcome)
    sys.exit(outcome.code)


def _spawn(recipe: Recipe, options: RunOptions) -> Outcome:
    context = get_context("spawn")
    port = _free_port()
    readers: dict[Connection, SpawnProcess] = {}
    with _signals_passed_on(lambda: list(readers.values())):
        for rank in range(options.processes):
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_worker, args=(recipe, options, rank, port, writer))
            process.start()
            writer.close()  # ours; the pipe ends with the process
            readers[reader] = process
        try:
            return _worst(_outcomes(readers))
        finally:
            for process in readers.values():
                process.kill()
                process.join()


def _outcomes(readers: dict[Connection, SpawnProcess]) -> list[Outcome]:
    """Collect outcomes in the order in which processes end; return early when one has failed."""
    waiting, outcomes = set(readers), list[Outcome]()
    deadline: float | None = None
    while waiting:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = connection.wait(list(waiting), timeout=left)
        for reader in [r for r in waiting if r in ready]:
            waiting.remove(reader)
            outcome = _outcome_of(reader, readers[reader])
            outcomes.append(outcome)
            if outcome.code and outcome.foreseen:
                return outcomes
            if outcome.code and deadline is None:
                deadline = time.monotonic() + _GRACE
        if not ready:
            break
    return outcomes


def _outcome_of(reader: Connection, process: SpawnProcess) -> Outcome:
    try:
        outcome: Outcome = reader.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGTERM:
            code = 128 + signal.SIGTERM
            return Outcome(code, "ended before the first step", foreseen=False)
        hint = "; the machine's memory may be full" if process.exitcode == -9 else ""
        return Outcome(1, f"a process died (exit code {process.exitcode}){hint}", foreseen=False)
    return outcome


def _worst(outcomes: list[Outcome]) -> Outcome:
    """The failure to report: one with a message for the user, else the first."""
    failures = [outcome for outcome in outcomes if outcome.code]
    return next((o for o in failures if o.foreseen), failures[0] if failures else Outcome(0))


@contextmanager
def _signals_passed_on(processes: Callable[[], list[SpawnProcess]]) -> Iterator[None]:
    """Each worker saves and ends at SIGTERM; without this they would train on without us."""

    def pass_on(_signal: int, _frame: FrameType | None) -> None:
        for process in processes():
            process.terminate()

    previous = {number: signal.signal(number, pass_on) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
