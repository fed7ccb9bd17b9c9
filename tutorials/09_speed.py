# %% [markdown]
# # Speed
#
# A layer of circuits can be computed in several ways, and the toolkit picks one. This page shows how to see which one
# runs, where the time goes, and what helps: compiled kernels, frozen coefficients, `torch.compile`, threads, a GPU,
# fewer bits, more processes. **Every shortcut is first checked to give the same numbers.**
#
# Times depend on your machine, and on what else it does. So nothing here is in seconds. Ways are timed in turns, round
# after round, and only ratios of their medians are shown.

# %%
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

import qkan
from qkan.kernels import explain

workspace = tempfile.TemporaryDirectory(prefix="qkan-")  # all that this page writes
folder = Path(workspace.name)
torch.set_num_threads(1)


def medians(ways, *arguments, seconds=0.5):
    """Median time of each way, in turns: a pause of the machine hits all of them alike."""
    for way in ways.values():
        way(*arguments)
        way(*arguments)
    times: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 3:
        for name, way in ways.items():
            began = time.perf_counter()
            way(*arguments)
            times[name].append(time.perf_counter() - began)
    return {name: float(np.median(found)) for name, found in times.items()}


def random_rows(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


# %% [markdown]
# ## Which route runs
# `qkan.kernels.explain(model, x)` says it, and why. It looks at the kind of layer, and at type, device and shape of
# `x`.

# %%
x = random_rows(256, 16)
layers = {
    "DARUAN, fixed": qkan.KANLayer(16, 16, seed=0),
    "DARUAN, per edge": qkan.KANLayer(16, 16, encoding="edge", seed=0),
    "DARUAN, amplitude": qkan.KANLayer(16, 16, readout="amplitude", seed=0),
    "Gaussian RBF": qkan.KANLayer(16, 16, basis="rbf", seed=0),
}
for name, layer in layers.items():
    print(f"{name:18} {explain(layer, x)}")
print(f"{'in float64':18} {explain(qkan.KANLayer(16, 16, seed=0).double(), x.double())}")

# %% [markdown]
# *By nodes*: an edge with fixed encoding is a trigonometric polynomial, fixed by its values at a few points. The
# circuits run at those points only, and the batch is one matrix product. *Per edge*: trainable data weights give every
# edge points of its own; its circuits run on every row, or, for a large batch, at Chebyshev nodes in the range of it.
#
# ## The reference
# `QKAN_KERNELS=reference` turns all compiled kernels off. What is left is plain PyTorch: slower, made to be read, and
# the definition the kernels are tested against. It is the first thing to try when a number looks odd. (A kernel is
# compiled the first time it is needed, which takes seconds, and is then kept on disk.)


# %%
@contextmanager
def reference():
    os.environ["QKAN_KERNELS"] = "reference"
    try:
        yield
    finally:
        del os.environ["QKAN_KERNELS"]


def step(layer):
    """Output and gradients of one training step."""
    layer.zero_grad()
    y = layer(x)
    y.square().sum().backward()
    return [y.detach(), *(parameter.grad.clone() for parameter in layer.parameters())]


def reference_step(layer):
    with reference():
        return step(layer)


with reference():
    print(explain(layers["DARUAN, fixed"], x))
speedups = {}
for name, layer in layers.items():
    for mine, plain in zip(step(layer), reference_step(layer), strict=True):
        assert (mine - plain).norm() <= 1e-5 * plain.norm()
    found = medians({"kernel": step, "reference": reference_step}, layer)
    speedups[name] = found["reference"] / found["kernel"]
    print(f"{name:18} the reference takes {speedups[name]:.1f} times as long")

figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
bars = axes.barh(list(speedups), list(speedups.values()))
axes.bar_label(bars, fmt=" %.1f")
axes.axvline(1, color="black", lw=1)
axes.set(xlabel="time of the reference / time of what runs by default", xlim=(0, 1.15 * max(speedups.values())))
axes.set(title="Forward and backward of one layer, one thread")
axes.invert_yaxis()

# %% [markdown]
# A value of 1 says that nothing was gained: the RBF layer is plain PyTorch both times. Kernels gain most where the
# reference would make large tensors or many calls, and least where the arithmetic itself is the work.
#
# ## Profiling
# The kernels are PyTorch operators, so PyTorch's profiler sees them. Sort by *self* time: what an operator spends
# itself, without those it calls.

# %%
model = qkan.QKAN([16, 16, 4], reps=3, seed=0)


os.environ["KINETO_LOG_LEVEL"] = "99"  # no messages of the profiler itself


def profiled(run):
    """Operators by self time, without the bookkeeping of backward."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(5):
            run()
    operators = [event for event in found.key_averages() if not event.key.startswith("autograd::engine")]
    return sorted(operators, key=lambda event: -event.self_cpu_time_total)


events = profiled(lambda: step(model))
with reference():
    reference_events = profiled(lambda: step(model))
total = sum(event.self_cpu_time_total for event in events)
print(f"{'operator':45}{'calls':>6}{'share':>8}")
for event in events[:8]:
    print(f"{event.key[:44]:45}{event.count:>6}{event.self_cpu_time_total / total:>8.0%}")
calls, reference_calls = (sum(event.count for event in found) for found in (events, reference_events))
print(f"{calls} calls in five steps; {reference_calls} by the reference")
assert calls < reference_calls

# %% [markdown]
# Small networks spend their time on *calls*, not on arithmetic: each operator costs a few microseconds, whatever it
# does. One kernel for a layer saves the calls.
#
# ## Frozen for inference
# The coefficients of a trained layer do not change any more. `KAN.compile_inference()` (and `KANLayer.freeze()`)
# computes them once. With fixed encoding no circuit is evaluated from then on.

# %%
rows_of_batch = (1, 16, 256, 2048)
gains = {}
for widths in ((16, 16, 4), (128, 64, 10)):
    trained = qkan.QKAN(widths, reps=3, seed=0)
    frozen = trained.compile_inference()
    for rows in rows_of_batch:
        some = random_rows(rows, widths[0])
        with torch.no_grad():
            assert torch.allclose(frozen(some), trained(some), rtol=1e-4, atol=1e-5)
            found = medians({"model": trained, "frozen": frozen}, some, seconds=0.3)
        gains[widths, rows] = found["model"] / found["frozen"]
    print(f"widths {widths}: the model takes, against its frozen copy,")
    print("   " + ", ".join(f"{gains[widths, rows]:.2f} x for {rows} rows" for rows in rows_of_batch))

# %% [markdown]
# The circuits are run once per call, however many rows there are. So freezing pays for *wide* layers, which have many
# circuits, and *few* rows. In a narrow network the compiled kernel is done with the circuits so quickly that there is
# nothing to gain.
#
# ## torch.compile
# Models compile as one graph (`fullgraph=True`), so nothing falls back to Python in between. PyTorch's default
# compiler, "inductor", writes C++ and needs a C++ compiler at hand; without one the first call ends with an error
# that says so. It also needs patience: the first call of a small model takes as long as thousands of others, and so
# does the first with another shape. That is why it is switched off on this page. The backend "aot_eager" needs no
# compiler, checks that the model is one graph with its gradients, and makes nothing faster.

# %%
INDUCTOR = False  # True: wait for the C++ compiler, if there is one

compiler = shutil.which(os.environ.get("CXX", "g++"))
backend = "inductor" if INDUCTOR and compiler else "aot_eager"
classical = qkan.KAN([16, 4], basis="rbf", seed=0)  # plain PyTorch runs here, so there is something to fuse
print(f"C++ compiler {'found' if compiler else 'not found'}; backend {backend!r}")
for name, one in (("circuits", model), ("RBF", classical)):
    compiled = torch.compile(one, fullgraph=True, backend=backend)
    began = time.perf_counter()
    gradients = torch.autograd.grad(compiled(x).square().sum(), list(one.parameters()))
    waited = time.perf_counter() - began
    expected = torch.autograd.grad(one(x).square().sum(), list(one.parameters()))
    for mine, plain in zip(gradients, expected, strict=True):
        assert (mine - plain).norm() <= 1e-4 * plain.norm()
    found = medians({"eager": one, "compiled": compiled}, x)
    print(f"{name:8} eager takes {found['eager'] / found['compiled']:.2f} times as long as compiled;", end=" ")
    print(f"the first call took as long as {waited / found['eager']:,.0f} eager ones")

# %% [markdown]
# ## Threads
# `OMP_NUM_THREADS=2` before the start, or `torch.set_num_threads(2)`, sets them for PyTorch and for the kernels.
# Threads help where there is much to do per call. For small batches one thread is often the fastest: the others have to
# be woken up. The results do not depend on their number, except for rounding.

# %%
wide = qkan.QKAN([32, 32, 8], seed=0)


def with_threads(count, rows):
    torch.set_num_threads(count)
    try:
        with torch.no_grad():
            return wide(rows)
    finally:
        torch.set_num_threads(1)


cores = os.cpu_count() or 1
threads = {}
for rows in (16, 512, 16_384):
    some = random_rows(rows, 32)
    assert torch.allclose(with_threads(1, some), with_threads(2, some), rtol=1e-4, atol=1e-5)
    found = medians({"one": partial(with_threads, 1), "two": partial(with_threads, 2)}, some)
    threads[rows] = found["one"] / found["two"]
    print(f"{rows:>6} rows: one thread takes {threads[rows]:.2f} times as long as two ({cores} cores here)")

figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
for widths in ((16, 16, 4), (128, 64, 10)):
    values = [gains[widths, rows] for rows in rows_of_batch]
    axes[0].loglog(rows_of_batch, values, "o-", label="-".join(map(str, widths)))
axes[1].loglog(list(threads), list(threads.values()), "o-")
for panel, title in zip(axes, ("time of the model / of its frozen copy", "time of one thread / of two"), strict=True):
    panel.axhline(1, color="black", lw=1)
    panel.set(xlabel="rows", title=title)
axes[0].legend(title="widths")

# %% [markdown]
# Values below 1 in the right picture are threads that *cost* time. They do on small batches, and far more where other
# programs want the same cores: then every thread waits for the slowest one.
#
# ## A GPU
# Models move with `.to("cuda")` as any PyTorch module. There, layers by nodes are matrix products, and per-edge
# layers run as Triton kernels, which were tested in an interpreter but have not run on a GPU yet. This cell does
# nothing on a machine without CUDA. On yours it first compares with the CPU: do the same before you trust a device.

# %%
if torch.cuda.is_available():
    rows = random_rows(1024, 16)
    for encoding in ("fixed", "edge"):
        layer = qkan.KANLayer(16, 16, encoding=encoding, seed=0)
        with torch.no_grad():
            expected = layer(rows)
            layer, rows_there = layer.to("cuda"), rows.to("cuda")
            print(explain(layer, rows_there))
            assert torch.allclose(layer(rows_there).cpu(), expected, rtol=1e-4, atol=1e-4)
else:
    print("no CUDA device here")

# %% [markdown]
# ## Mixed precision
# bfloat16 keeps 8 significant bits: relative steps of 2⁻⁸ ≈ 0.4 %. Under `torch.autocast` parameters stay in float32,
# and matrix products run in bfloat16. `model.bfloat16()` stores everything in it. On most CPUs this saves memory, not
# time; GPUs have units for it. The question is what it does to the numbers.

# %%
exact_model = qkan.QKAN([16, 16, 4], reps=3, seed=0).double()
with torch.no_grad():
    exact = exact_model(x.double())

    def error(found):
        return float((found.double() - exact).norm() / exact.norm())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = model(x)
    errors = {
        "float32": error(model(x)),
        "bfloat16 autocast": error(autocast),
        "bfloat16 model": error(qkan.QKAN([16, 16, 4], reps=3, seed=0).bfloat16()(x.bfloat16())),
    }
for name, value in errors.items():
    print(f"{name:18} relative error {value:.1e}")
figure, axes = plt.subplots(figsize=(6, 2.2), layout="constrained")
axes.barh(list(errors), list(errors.values()))
axes.axvline(2**-8, color="black", ls="--", lw=1, label="one step of bfloat16")
axes.set(xscale="log", xlabel="relative error of the outputs")
axes.invert_yaxis()
axes.legend()
assert errors["float32"] < 1e-6
assert max(errors.values()) < 0.05

# %% [markdown]
# Circuit angles are what suffers: an angle of 3 is off by up to 0.01 in bfloat16, before anything is computed with it.
# Train under autocast, keep the parameters in float32, and compare a few outputs with float64 as above.
#
# ## Several processes
# The models are plain modules, so `DistributedDataParallel` takes them. Every process gets a part of the rows,
# gradients are averaged after each step, and all processes hold the same model. `torchrun` starts them. This script is
# written to the temporary folder and really run, with two processes on this machine, over `gloo`, which needs no GPU.

# %%
SCRIPT = """
import os, sys
from pathlib import Path
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
import qkan

rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
torch.set_num_threads(1)
data = qkan.create_dataset(lambda x: torch.sin(3 * x[:, :1]) * x[:, 1:], n_var=2, train_num=512, seed=0)
x, y = data["train_input"][rank::world], data["train_label"][rank::world]  # this process's part of the rows
model = qkan.QKAN([2, 5, 1], reps=3, seed=0)  # the same seed everywhere
trained = model
if world > 1:
    dist.init_process_group("gloo")
    trained = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for _ in range(30):
    optimizer.zero_grad()
    loss = (trained(x) - y).square().mean()
    loss.backward()
    optimizer.step()
model.save(Path(sys.argv[1]) / f"{world}-{rank}")
sys.stdout.write(f"process {rank} of {world}: {len(x)} rows, loss {loss.item():.5f}\\n")
if world > 1:
    dist.destroy_process_group()
"""
script = folder / "train.py"
script.write_text(SCRIPT)
torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
done = subprocess.run(
    [*torchrun, str(script), str(folder)],
    env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)},  # torchrun keeps notes there
    capture_output=True,
    text=True,
    timeout=80,
)
print(done.stdout.strip())
assert done.returncode == 0, done.stderr

# %% [markdown]
# And the same script once more, in this process alone, with all rows. Means of equal parts are the mean of all, so the
# parameters must agree to rounding.

# %%
arguments, sys.argv = sys.argv, [str(script), str(folder)]
try:
    runpy.run_path(str(script))
finally:
    sys.argv = arguments
alone, first, second = (dict(qkan.load(folder / name).named_parameters()) for name in ("1-0", "2-0", "2-1"))
start = dict(qkan.QKAN([2, 5, 1], reps=3, seed=0).named_parameters())
difference = max(float((alone[name] - first[name]).detach().abs().max()) for name in alone)
moved = max(float((alone[name] - start[name]).detach().abs().max()) for name in alone)
print(f"parameters moved by up to {moved:.2f} in training; one process and two differ by {difference:.1e}")
assert all(torch.equal(first[name], second[name]) for name in first), "both processes hold the same model"
assert difference < 1e-4 < moved
workspace.cleanup()

# %% [markdown]
# On one machine processes share the cores, and a network this small gains nothing. It is worth it for large batches,
# for several GPUs (`"nccl"` in place of `"gloo"`), and for several machines (`torchrun --nnodes=…`).
#
# ## In short
# 1. Ask `explain` which route runs. float64 and `torch.func` transforms take the reference.
# 2. Fixed encodings are far cheaper than trainable ones. Take those first.
# 3. Profile before you change anything.
# 4. For inference, freeze.
# 5. Compare outputs with the reference or with float64 after every shortcut.
#
# ## Try it
# * Vary `reps` from 1 to 6 in "DARUAN, fixed" and "DARUAN, per edge". Which of the two grows faster, and why?
# * Profile `basis="bspline"` under the reference. Which operator takes the most, and what replaces it by default?
# * Time one training step of a network from your own work by `medians`, with 1, 2 and all threads.
# * Run `train.py` with 4 processes. Why must the number of rows be a multiple of it for the results to agree?
#
# ## References
# * Jiang, Huang, Chen, Goan, *Quantum Variational Activation Functions Empower Kolmogorov-Arnold Networks*,
#   arXiv 2509.14026.
# * Schuld, Sweke, Meyer, *Effect of data encoding on the expressive power of variational quantum-machine-learning
#   models*, Phys. Rev. A 103, 032430 (2021), doi 10.1103/PhysRevA.103.032430: why a few nodes fix an edge.
# * Jones and Gacon, *Efficient calculation of gradients in classical simulations of variational quantum algorithms*,
#   arXiv 2009.02823: gradients by running the circuit backwards, as the per-edge kernels do.
# * Micikevicius et al., *Mixed Precision Training*, arXiv 1710.03740.
# * Li et al., *PyTorch Distributed: Experiences on Accelerating Data Parallel Training*, arXiv 2006.15704.
