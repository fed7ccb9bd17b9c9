"""Deploys again and again in child processes that are killed at random instants; prints what the service executed.

Run as a script with a folder, a seed and the number of kills wanted. It forks, so it must stay single-threaded.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from circuit_service import Service

import qkan
from qkan.circuits import deploy
from qkan.circuits.deployment import Deployment


def start(folder: Path, round_: int) -> Deployment:
    """The deployment of one round, measured from wherever its ledger stands."""
    model = qkan.QKAN([3, 2, 1], reps=2, seed=round_)
    service = Service(folder / f"service-{round_}.sqlite", pause=0.002)
    options = {"shots": 100, "batch_size": 2, "seed": round_, "readout_mitigation": True}
    return deploy(
        model, service, ledger=folder / f"run-{round_}.sqlite", progress=False, delay=0.001, dry_run=True, **options
    )


def child(folder: Path, round_: int) -> None:
    """Go on to the end, and write the outputs."""
    run = start(folder, round_).measure()
    values = [result.values.tolist() for result, _ in run._results.values()]
    (folder / f"done-{round_}.json").write_text(json.dumps(values))


def kill_rounds(folder: Path, seed: int, wanted: int) -> dict:
    """Rounds until so many children were killed while they worked."""
    draw = random.Random(seed)
    kills, rounds, slowest = 0, 0, 0.25
    while kills < wanted:
        attempts = 0
        while True:
            attempts += 1
            began = time.monotonic()
            pid = os.fork()
            if pid == 0:
                try:
                    child(folder, rounds)
                    os._exit(0)
                except BaseException as error:
                    print(f"{type(error).__name__}: {error}", file=sys.stderr)
                    os._exit(1)
            if kills < wanted:
                time.sleep(draw.uniform(0, slowest))
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if os.WIFSIGNALED(status):
                kills += 1
                continue
            if os.waitstatus_to_exitcode(status) != 0:
                raise SystemExit(1)
            slowest = max(0.05, min(slowest, time.monotonic() - began))
            break
        rounds += 1
    found = []
    for round_ in range(rounds):
        run = start(folder, round_)
        jobs = run.options.backend.jobs()
        found.append(
            {
                "jobs": len(jobs),
                "tags": len({tag for _, tag, _, _ in jobs}),
                "circuits": sum(circuits for _, _, circuits, _ in jobs),
                "planned_jobs": run.plan().jobs,
                "planned_circuits": run.plan().executions,
                "values": json.loads((folder / f"done-{round_}.json").read_text()),
            }
        )
    return {"kills": kills, "rounds": found}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(kill_rounds(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
