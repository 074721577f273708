"""Each fault of Discord's HTTP API, at each step of a job's life, with or without a restart.

A real bot process serves a tiny model; Discord is the tests' server on a local port. In each cell
one user's calls fail in one way at one step, and later Discord is well again. The job must come to
an end that its owner sees: the clip once, or a reason why there is none. Pauses between tries are a
25th of the usual ones. The command fails if a clip is lost or shown twice, or if somebody is not
told.

    python -m benchmarks.faults
    python -m benchmarks.faults --only "502,reset done" --steps "clip token" --restarts none
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.fault_cells import Cell, NotYet, Outcome
from benchmarks.fault_kinds import FAULTS, Fault
from benchmarks.fault_lab import Lab, lab
from benchmarks.fault_steps import STEPS
from tests.engine.conftest import write_tiny_model

RESTARTS: Final = ("none", "stop", "kill")
_TOGETHER: Final = 28
"""Cells that share a bot, at most."""
_SETTLE_S: Final = 1.0
_QUICK: Final = ("400 50035", "403 50001", "502", "429 page Via", "reset done", "200 {}")


@dataclass(frozen=True, slots=True)
class Result:
    """A cell and what became of it."""

    fault: str
    step: str
    restart: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Wave:
    """The cells that share a bot."""

    faults: tuple[Fault, ...]
    steps: tuple[str, ...]
    restart: str


def measure(
    faults: Sequence[str], steps: Sequence[str], restarts: Sequence[str], lanes: int
) -> list[Result]:
    """Play every cell, in `lanes` bots at a time, and return them in the order of the arguments."""
    waves: queue.SimpleQueue[_Wave] = queue.SimpleQueue()
    for wave in _waves([FAULTS[name] for name in faults], tuple(steps), restarts):
        waves.put(wave)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_tiny_model(folder / "tiny-t2v", with_image=False)
        with ThreadPoolExecutor(lanes) as pool:
            found = pool.map(
                lambda number: _lane(folder / f"lane{number}", model, waves), range(lanes)
            )
            results = [result for lane in found for result in lane]
    order = {name: number for number, name in enumerate(faults)}
    return sorted(
        results,
        key=lambda r: (order[r.fault], list(STEPS).index(r.step), RESTARTS.index(r.restart)),
    )


def _waves(faults: Sequence[Fault], steps: tuple[str, ...], restarts: Sequence[str]) -> list[_Wave]:
    """Put faults together that do not disturb each other; those that take longest come first."""
    room = max(1, _TOGETHER // len(steps))
    quick = [f for f in faults if not (f.alone or f.slow or f.passes)]
    groups: list[tuple[Fault, ...]] = [(fault,) for fault in faults if fault not in quick]
    groups += [tuple(quick[i : i + room]) for i in range(0, len(quick), room)]
    groups.sort(key=lambda group: not group[0].slow)
    return [_Wave(group, steps, restart) for group in groups for restart in restarts]


def _lane(folder: Path, model: Path, waves: queue.SimpleQueue[_Wave]) -> list[Result]:
    results: list[Result] = []
    with lab(folder, model) as bench:
        while True:
            try:
                wave = waves.get_nowait()
            except queue.Empty:
                return results
            results += _play(bench, wave)


def _play(bench: Lab, wave: _Wave) -> list[Result]:
    began = time.monotonic()
    restart, killed = wave.restart != "none", wave.restart == "kill"
    cells = [
        STEPS[step](bench, fault, restart=restart, killed=killed)
        for fault in wave.faults
        for step in wave.steps
    ]
    bench.open(cells)
    with ThreadPoolExecutor(len(cells)) as pool:
        list(pool.map(partial(_guarded, lambda cell: cell.begin()), cells))
        if restart:
            bench.restart(kill=killed)
        list(pool.map(partial(_guarded, lambda cell: cell.finish()), cells))
        time.sleep(_SETTLE_S)
        outcomes = list(pool.map(_judged, cells))
    for cell in cells:
        cell.over = True
    bench.close()
    names = ", ".join(fault.name for fault in wave.faults)
    took = time.monotonic() - began
    print(f"{took:6.1f} s  {wave.restart:4}  {names}", file=sys.stderr, flush=True)
    return [
        Result(cell.fault.name, cell.step, wave.restart, outcome)
        for cell, outcome in zip(cells, outcomes, strict=True)
    ]


def _guarded(act: Callable[[Cell], None], cell: Cell) -> None:
    if cell.trouble:
        return
    try:
        act(cell)
    except NotYet as error:
        cell.trouble = str(error)


def _judged(cell: Cell) -> Outcome:
    if not cell.hits:
        return Outcome(unmet=True, ending=cell.trouble)
    try:
        found = cell.outcome()
    except NotYet as error:
        return Outcome(lost=True, untold=True, ending=str(error))
    if not cell.trouble:
        return found
    # Whatever was waited for in vain is a loss, unless the verdict names something worse.
    return Outcome(True, found.twice, found.untold, ending=f"{cell.trouble}; {found.ending}")


def table(results: Sequence[Result]) -> list[str]:
    """Return a line for each fault and step, with a mark for each restart."""
    restarts = list(dict.fromkeys(result.restart for result in results))
    rows: dict[tuple[str, str], list[str]] = {}
    for result in results:
        rows.setdefault((result.fault, result.step), []).append(_mark(result.outcome))
    lines = [f"| fault | step | {' | '.join(restarts)} |", "|---|---|" + "---|" * len(restarts)]
    lines += [f"| {fault} | {step} | {' | '.join(m)} |" for (fault, step), m in rows.items()]
    return lines


def _mark(outcome: Outcome) -> str:
    wrong = [
        name
        for name, is_so in (
            ("LOST", outcome.lost),
            ("TWICE", outcome.twice),
            ("NOT TOLD", outcome.untold),
            ("NOT MET", outcome.unmet),
        )
        if is_so
    ]
    return f"{' '.join(wrong)}{': ' if wrong else ''}{' '.join(outcome.ending.split())}"


def summary(results: Sequence[Result]) -> str:
    """Return the totals in one line."""
    outcomes = [result.outcome for result in results]
    lost, twice = sum(o.lost for o in outcomes), sum(o.twice for o in outcomes)
    untold, unmet = sum(o.untold for o in outcomes), sum(o.unmet for o in outcomes)
    more = f" ({unmet} not met)" if unmet else ""
    return f"{len(outcomes)} cells, lost {lost}, twice {twice}, not told {untold}{more}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the matrix, print its table and its totals; 1 if anything is wrong."""
    options = _options(arguments)
    began = time.monotonic()
    results = measure(options.only, options.steps, options.restarts, options.lanes)
    print("\n".join(table(results)))
    print(f"{summary(results)}, {time.monotonic() - began:.0f} s")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1))
    wrong = any(r.outcome.lost or r.outcome.twice or r.outcome.untold for r in results)
    return int(wrong or any(r.outcome.unmet for r in results))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--only", metavar="FAULT,...", help=f"of: {', '.join(FAULTS)}")
    parser.add_argument("--steps", metavar="STEP,...", help=f"of: {', '.join(STEPS)}")
    parser.add_argument("--restarts", metavar="HOW,...", help=f"of: {', '.join(RESTARTS)}")
    parser.add_argument("--quick", action="store_true", help="six faults, without and with a kill")
    parser.add_argument("--lanes", type=int, default=3, help="bots at a time (default 3)")
    parser.add_argument("--kill", action="store_true", help="end bots by killing them only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for programs")
    options = parser.parse_args(arguments)
    restarts = ("none", "kill") if options.quick or options.kill else RESTARTS
    faults = _QUICK if options.quick else tuple(FAULTS)
    options.only = _chosen(parser, "--only", options.only, FAULTS, faults)
    options.steps = _chosen(parser, "--steps", options.steps, STEPS, tuple(STEPS))
    options.restarts = _chosen(parser, "--restarts", options.restarts, RESTARTS, restarts)
    return options


def _chosen(
    parser: argparse.ArgumentParser,
    option: str,
    given: str | None,
    known: Collection[str],
    default: Sequence[str],
) -> Sequence[str]:
    if given is None:
        return default
    names = [name.strip() for name in given.split(",")]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"{option}: unknown: {', '.join(unknown)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
