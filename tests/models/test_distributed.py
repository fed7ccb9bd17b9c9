"""Two processes with half of the batch each train the same network as one process with all of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

SCRIPT = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
import qkan

folder, rank, world, encoding = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(1)
model = qkan.QKAN([4, 5, 2], encoding=encoding, seed=0)
local = torch.Generator().manual_seed(1)
x, y = torch.randn(200, 4, generator=local), torch.randn(200, 2, generator=local)
trained = model
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    trained = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for _ in range(10):
    optimizer.zero_grad()
    (trained(x[rank::world]) - y[rank::world]).square().mean().backward()
    optimizer.step()
torch.save(model.state_dict(), folder / f"{world}-{rank}.pt")
if world > 1:
    dist.destroy_process_group()
"""


def start(folder, rank: int, world: int, encoding: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(folder), str(rank), str(world), encoding]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no distributed package")
@pytest.mark.parametrize("encoding", ["fixed", "edge"])
def test_two_processes_train_what_one_does(encoding, tmp_path):
    processes = [start(tmp_path, 0, 1, encoding), *(start(tmp_path, rank, 2, encoding) for rank in (0, 1))]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    alone, first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))
    moved = torch.cat([value.flatten() for value in alone.values()])
    assert moved.isfinite().all()
    for name, value in alone.items():
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5)
