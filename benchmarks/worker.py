"""One side of a comparison, in a process of its own: both packages are named ``qkan``.

``python worker.py toolkit`` or ``python worker.py official`` reads one JSON command per line and answers with one JSON
line. What libraries print goes to standard error.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TARGET_STEP = 0.1  # seconds that one timed repetition lasts at least


def draw(shape: tuple[int, ...], seed: int) -> Tensor:
    """The same standard-normal numbers on both sides."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def frequencies(case: dict[str, Any]) -> Tensor:
    """Data weights w_l of the case, (L,)."""
    base = 3.0 if case["frequencies"] == "ternary" else 1.0
    return base ** torch.arange(case["reps"])


def toolkit(case: dict[str, Any]) -> tuple[nn.Module, dict[str, Tensor]]:
    """The toolkit's layer and its parameters under common names."""
    from qkan import KANLayer

    n, m = case["inputs"], case["outputs"]
    plain = {"base": None, "scale": False, "bias": False, "seed": 0}
    if case["kind"] == "linear":
        layer: nn.Module = nn.Linear(n * case["features"], m, bias=False)
        return layer, dict(layer.named_parameters())
    if case["kind"] != "daruan":
        layer = KANLayer(n, m, basis=case["kind"], **plain)
        return layer, dict(layer.named_parameters())
    circuit = {key: case[key] for key in ("reps", "encoding", "frequencies")}
    layer = KANLayer(n, m, **circuit, **plain)
    with torch.no_grad():
        layer.basis.theta.copy_(draw(tuple(layer.basis.theta.shape), 1))
    named = {"theta": layer.basis.theta}
    return layer, named | ({} if layer.basis.frequency is None else {"frequency": layer.basis.frequency})


def official(case: dict[str, Any]) -> tuple[nn.Module, dict[str, Tensor]]:
    """The published package's layer with the same parameters, exact solver, measuring Z."""
    from qkan import QKAN

    n, m, reps = case["inputs"], case["outputs"], case["reps"]
    trainable = case["encoding"] != "fixed" or case["frequencies"] != "unit"
    options = {"solver": case["solver"], "ansatz": "pz", "fast_measure": False, "preact_trainable": trainable}
    model = QKAN([n, m], reps=reps, device=case["device"], seed=0, **options)
    layer = model.layers[0]
    with torch.no_grad():
        layer.theta.copy_(draw((m, n, 2 * (reps + 1)), 1).reshape(layer.theta.shape))
        if trainable:
            layer.preacts_weight.copy_(frequencies(case).expand_as(layer.preacts_weight))
    model.load_state_dict(model.state_dict())  # changed weights are noticed on loading only
    named = {"theta": layer.theta}
    if trainable:
        named |= {"frequency": layer.preacts_weight, "shift": layer.preacts_bias}
    return model, named


class Step:
    """Forward and backward of one case."""

    def __init__(self, build: Any, case: dict[str, Any]):
        place = {"device": case["device"], "dtype": getattr(torch, case["dtype"])}
        self.layer, self.named = build(case)
        self.layer.to(**place)
        batch, width = case["batch"], case["inputs"] * max(1, case["features"])
        self.x = draw((batch, width), 2).to(**place).requires_grad_()
        self.grad = draw((batch, case["outputs"]), 3).to(**place)

    def __call__(self) -> tuple[Tensor, ...]:
        self.y = self.layer(self.x)
        return torch.autograd.grad(self.y, [self.x, *self.named.values()], self.grad)

    def loops(self) -> int:
        """Runs that fill one timed repetition; the first runs, which load and warm code, do not count."""
        self()
        once = self.seconds(1)
        for _ in range(20):
            if once < TARGET_STEP:
                once = min(once, self.seconds(1))
        return max(1, math.ceil(TARGET_STEP / once))

    def seconds(self, loops: int) -> float:
        """Mean over ``loops`` runs."""
        self.wait()
        start = time.perf_counter()
        for _ in range(loops):
            self()
        self.wait()
        return (time.perf_counter() - start) / loops

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.x.is_cuda:
            torch.cuda.synchronize()

    def save(self, path: str) -> None:
        """Output and gradients as arrays."""
        grads = self()
        names = ["x", *self.named]
        arrays = {name: grad.float().cpu().numpy() for name, grad in zip(names, grads, strict=True)}
        np.savez(path, y=self.y.detach().float().cpu().numpy(), **arrays)


def memory_kib(field: str) -> int:
    """A field of the process's memory status in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def peak_rise(build: Any, case: dict[str, Any]) -> int:
    """KiB by which one step raises the peak of resident memory; code is compiled and loaded beforehand."""
    for batch, width in ((2, 12), (130, 12), (1100, 40)):  # kernels have forms for little, more and much work
        Step(build, {**case, "batch": batch, "inputs": width, "outputs": width})()
    step = Step(build, case)
    if step.x.is_cuda:
        return device_peak_rise(step)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory_kib("VmRSS")
    step()
    return max(memory_kib("VmHWM") - before, 4)


def device_peak_rise(step: Step) -> int:
    """KiB of device memory that one step takes beyond what lies there."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    step.wait()
    return max((torch.cuda.max_memory_allocated() - before) // 1024, 4)


def serve(side: str, answer: Any) -> None:
    """Answer commands until the input ends."""
    build = {"toolkit": toolkit, "official": official}[side]
    step: Step | None = None
    for line in sys.stdin:
        command = json.loads(line)
        result: Any = None
        try:
            step, result = obey(command, step, build)
        except torch.OutOfMemoryError:
            step, result = None, "out of memory"
        answer.write(json.dumps(result) + "\n")
        answer.flush()


def obey(command: dict[str, Any], step: Step | None, build: Any) -> tuple[Step | None, Any]:
    """Carry out one command; the case that is built from then on, and the answer."""
    if command["do"] == "build":
        step = Step(build, command["case"])
        return step, step.loops()
    if command["do"] == "memory":
        return step, peak_rise(build, command["case"])
    assert step is not None
    if command["do"] == "time":
        return step, step.seconds(command["loops"])
    step.save(command["path"])
    return step, None


def main() -> None:
    """Check which package answers to the name ``qkan``, then serve."""
    side, threads = sys.argv[1], int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver ends this process by closing its input
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(threads)
    import qkan

    if hasattr(qkan, "KANLayer") != (side == "toolkit"):
        raise SystemExit(f"the worker {side!r} found another package under the name qkan: {qkan.__file__}")
    serve(side, answer)


if __name__ == "__main__":
    main()
