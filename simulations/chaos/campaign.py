"""Many seeds one after the other over one consortium, each result kept as soon as it is there."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common.records import Update
from common.storage import write_json, write_text
from simulations.chaos import results
from simulations.chaos.faults import drawn
from simulations.chaos.ground import Ground
from simulations.chaos.results import SeedResult
from simulations.chaos.seed import play
from simulations.chaos.table import goals_missed, markdown


def run_seeds(
    out: Path,
    seeds: Sequence[int],
    faults: tuple[str, ...],
    *,
    silos: int,
    each: int,
    deadline: int,
    keep_logs: bool,
    say: Callable[[str], None],
) -> list[SeedResult]:
    """Play the seeds that ``out`` holds no result of; gives the results of all.

    Ends all processes that it started, whatever ends it. The consortium lies in a temporary folder.

    Args:
        each: faults of processes in a seed.
        keep_logs: leave the consortium's folder where it is.
    """
    out.mkdir(parents=True, exist_ok=True)
    known = {seed: results.read(out, seed) for seed in seeds}
    done = {seed: result for seed, result in known.items() if result is not None}
    for seed in done:
        say(f"seed {seed} was done before")
    left = [seed for seed in seeds if seed not in done]
    if left:
        # Sockets of a hospital need short paths.
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        try:
            done |= _played(folder, out, left, faults, silos, each, deadline, say)
        finally:
            if keep_logs:
                say(f"the consortium lies in {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
    found = [done[seed] for seed in seeds]
    _write_tables(out, found)
    return found


def _played(
    folder: Path,
    out: Path,
    seeds: Sequence[int],
    faults: tuple[str, ...],
    silos: int,
    each: int,
    deadline: int,
    say: Callable[[str], None],
) -> dict[int, SeedResult]:
    done: dict[int, SeedResult] = {}
    began = time.monotonic()
    ground = Ground(folder / "c", silos, deadline=deadline)
    try:
        ground.start()
        ground.wait_until_ranking()
        say(f"a consortium of {silos} silos is up after {time.monotonic() - began:.0f} s")
        kept: dict[str, list[Update]] = {silo: [] for silo in ground.silos}
        for seed in seeds:
            met = drawn(seed, faults, min(each, len(faults)))
            say(f"seed {seed}: {'; '.join(met)}")
            done[seed] = play(ground, seed, met, folder / "work", kept=kept, say=say)
            results.write(out, done[seed])
            _write_tables(out, [*done.values()])
            failures = "; ".join(done[seed].failures)
            say(f"seed {seed}: {failures or 'all goals met'}, {done[seed].seconds:.0f} s")
    finally:
        ground.close()
    return done


def _write_tables(out: Path, found: Sequence[SeedResult]) -> None:
    write_text(out / "chaos.md", markdown(found))
    missed = goals_missed(found)
    write_json(out / "chaos.json", {"version": 1, "seeds": [item.seed for item in found], "missed": missed})
