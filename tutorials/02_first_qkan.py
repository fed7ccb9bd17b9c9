# %% [markdown]
# # Your first QKAN
#
# A Kolmogorov-Arnold network (KAN) puts a trained function of one variable on every edge, where a multilayer perceptron
# has a number; a node only adds up. A **QKAN** is a KAN whose edge functions are computed by one qubit each (tutorial 1
# takes one apart). On this page we fit a function, look at the network, compare edge functions of five kinds at equal
# parameters, make a network finer, prune it, read off a formula, and turn circuits into splines.

# %%
import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

import qkan
from qkan.models import distil

# %% [markdown]
# ## Fit
# The target is exp(sin πx + y²), the example of the first KAN paper: a sine and a square, added, inside an exponential.
# `create_dataset` draws inputs between -1 and 1. `QKAN([2, 5, 1])` has two inputs, five hidden nodes and one output, so
# fifteen edges, and `reps=3` lets every edge feed its input into its qubit three times. L-BFGS suits small networks.


# %%
def target(x):
    return torch.exp(torch.sin(math.pi * x[:, [0]]) + x[:, [1]] ** 2)


data = qkan.create_dataset(target, n_var=2, train_num=500, test_num=500, seed=0)
model = qkan.QKAN([2, 5, 1], reps=3, seed=0)
history = model.fit(data, opt="LBFGS", steps=20, progress=False)

variance = float(data["test_label"].var())
explained = 1 - history["test_loss"][-1] / variance
print(qkan.count(model))
print(f"held-out variance explained: {100 * explained:.2f} %")
assert explained > 0.99

figure, axes = plt.subplots(figsize=(6, 3))
axes.semilogy(history["step"], history["train_loss"], label="training rows")
axes.semilogy(history["step"], history["test_loss"], "--", label="held-out rows")
axes.set(xlabel="L-BFGS step", ylabel="mean squared error", title="QKAN [2, 5, 1], reps = 3")
axes.legend()

# %% [markdown]
# ## Look
# Inputs below, output above; on every edge stands its function over the data. The darker an edge, the more it moves its
# node. This is what KANs are liked for: nothing is hidden.

# %%
model.plot(in_vars=["x", "y"], out_vars=["output"], title="A fitted QKAN")

# %% [markdown]
# ## Compare edge functions
# The layer is the same for all bases, so a fair comparison is easy: the same widths, the same number of parameters, the
# same data, the same optimiser. The options below give eight numbers per edge in every basis. Two targets: the smooth
# one from above, and |x - y|, which has a kink. Three seeds each, of data and of starting values: one run says little.

# %%
bases: dict[str, dict[str, Any]] = {
    "daruan": {"reps": 3},
    "bspline": {"grid": 5, "k": 3},
    "fourier": {"degree": 4},
    "chebyshev": {"degree": 7},
    "rbf": {"grid": 8},
}
targets = {"exp(sin πx + y²)": target, "|x - y|": lambda x: (x[:, [0]] - x[:, [1]]).abs()}
scores: dict[tuple[str, str], list[float]] = {}
for name, function in targets.items():
    for basis, options in bases.items():
        for seed in range(3):
            rows = qkan.create_dataset(function, n_var=2, train_num=400, test_num=400, seed=seed)
            network = qkan.KAN([2, 5, 1], basis, seed=seed, **options)
            assert qkan.count(network).trainable == 156
            fitted = network.fit(rows, opt="LBFGS", steps=15, log=15, progress=False)
            rmse = math.sqrt(fitted["test_loss"][-1] / float(rows["test_label"].var()))
            scores.setdefault((name, basis), []).append(rmse)

figure, axes = plt.subplots(1, 2, figsize=(10, 3), sharey=True)
for panel, name in zip(axes, targets, strict=True):
    for place, basis in enumerate(bases):
        panel.scatter([place] * 3, scores[name, basis], color="tab:blue", alpha=0.5)
        panel.scatter(place, np.median(scores[name, basis]), marker="_", s=400, color="black")
    panel.set_xticks(range(len(bases)), bases)
    panel.set(yscale="log", title=name)
axes[0].set_ylabel("held-out RMSE / std")
for (name, basis), found in scores.items():
    print(f"{name:18s} {basis:10s} {np.median(found):.4f}   from {min(found):.4f} to {max(found):.4f}")
assert all(max(found) < 0.2 for found in scores.values())

# %% [markdown]
# Every dot is one run, the bar is the median. All five fit; on these two targets the circuits are **not** better than
# the classical bases, at the same size and with the same training. A basis is a choice to be tested on your data, and
# the reason to choose circuits has to be another one, such as a device to run them on. Three seeds rank nothing that is
# closer together than the dots of one column.
#
# ## Refine
# More repetitions make a richer edge. `refine` builds the larger network so that it computes **the same function**, and
# training goes on from there: no work is lost.

# %%
small = qkan.QKAN([2, 5, 1], reps=2, seed=0)
losses, ends = [], []
for reps in (2, 4, 6):
    if reps > 2:
        before = small(data["test_input"])
        small = small.refine(reps)
        assert torch.allclose(small(data["test_input"]), before, atol=1e-4)
    part = small.fit(data, opt="LBFGS", steps=12, progress=False)
    losses += part["test_loss"]
    ends.append(part["test_loss"][-1])
    print(f"reps = {reps}: {qkan.count(small).trainable} parameters, held-out MSE {ends[-1]:.1e}")

figure, axes = plt.subplots(figsize=(6, 3))
axes.semilogy(range(1, len(losses) + 1), losses)
for step in (12.5, 24.5):
    axes.axvline(step, color="gray", linestyle=":")
axes.set(xlabel="L-BFGS step", ylabel="held-out MSE", title="reps = 2, then 4, then 6")
assert ends[2] < ends[0]

# %% [markdown]
# ## Prune
# Real tables have columns that do not matter. We add one, and train with a **sparsity penalty** (`lamb`) that asks for
# few and small edges. `prune` then removes what hardly contributes, and says what that changed. The network is trained
# on a little, without the penalty.

# %%
noisy = qkan.create_dataset(lambda x: target(x[:, :2]), n_var=3, train_num=500, test_num=500, seed=0)
wide = qkan.QKAN([3, 2, 1], reps=3, seed=1)
wide.fit(noisy, opt="LBFGS", steps=15, lamb=0.002, progress=False)
pruned = wide.prune(node_th=0.1, edge_th=0.1)
print(pruned)
after = pruned.model.fit(noisy, opt="LBFGS", steps=15, progress=False)
print(f"held-out variance explained: {100 * (1 - after['test_loss'][-1] / variance):.2f} %")
assert pruned.after < pruned.before
assert 2 in pruned.unused_inputs  # the column that does not matter

pruned.model.plot(in_vars=["x", "y", "useless"], out_vars=["output"], title="After pruning")

# %% [markdown]
# ## Read off a formula
# Each edge is a curve, so we can ask which known function it looks like. `suggest_symbolic` lists candidates for one
# edge, with r2, the share of its variance they explain. The score weighs what is left over against complexity: lower is
# better. The candidates are c · f(a·x + b) + d.

# %%
layer, node = 0, int(pruned.model.layers[0].active()[:, 0].nonzero()[0])
print(pruned.model.suggest_symbolic(layer, 0, node).head(4).to_string(index=False))

# %% [markdown]
# `auto_symbolic` replaces one edge after another, best fits first, and trains the rest again after each replacement. We
# name the functions that may occur. `symbolic_formula` writes the network as one expression.

# %%
allowed = ["x", "x^2", "exp", "log", "sqrt", "sin"]
report = pruned.model.auto_symbolic(noisy["train_input"], noisy["train_label"], functions=allowed, steps=3)
print(report)
print(report.edges[["layer", "input", "output", "function", "r2"]].to_string(index=False))
formula = report.model.symbolic_formula(["x", "y", "useless"])[0]
print("output =", formula)
assert report.complete
assert report.loss_after < 1e-6
assert {str(symbol) for symbol in formula.free_symbols} == {"x", "y"}

# %% [markdown]
# The circuits have found the formula behind the data, to four digits. That is not a matter of course. From other
# starting values two hidden nodes survive the pruning, and the same function comes out as a longer sum. Train a few
# networks, and keep the simplest that fits.
#
# ## Circuits as splines
# A trained QKAN can be handed to somebody who wants none of this: `distil` fits every edge with another basis, edge by
# edge, and says what is left over. The other way round it turns splines into circuits.

# %%
student = distil(model, data["train_input"], basis="bspline")
print(student)
x = data["test_input"]
with torch.no_grad():
    gap = float((student.model(x) - model(x)).square().mean().sqrt() / model(x).std())
print(f"held-out deviation from the QKAN: {100 * gap:.2f} % of the outputs' standard deviation")
assert gap < 0.02

figure, axes = plt.subplots(figsize=(6, 3))
points = torch.linspace(-1, 1, 200)[:, None].expand(-1, 2)
with torch.no_grad():
    old, new = model.layers[0].edges(points)[..., 0], student.model.layers[0].edges(points)[..., 0]
axes.plot(points[:, 0], old - old.mean(0), linewidth=4, alpha=0.35)
axes.set_prop_cycle(None)
axes.plot(points[:, 0], new - new.mean(0), "--", linewidth=1)
_ = axes.set(xlabel="x", title="Five circuits (wide) and the splines that replace them (dashed)")

# %% [markdown]
# ## Try it
# * Train the QKAN of the comparison for 60 steps. Does the ranking change? What about the time?
# * Use `frequencies="binary"` in `QKAN`: the same number of parameters, more than twice the degree.
# * Train the pruned network from `seed=0`. How long does the formula get? What if you prune with `edge_th=0.3`?
# * Take your own function of two variables. Does the formula come back?
#
# ## References
# * Jiang, Huang, Chen, Goan, *Quantum Variational Activation Functions Empower Kolmogorov-Arnold Networks*,
#   arXiv 2509.14026: QKAN.
# * Liu et al., *KAN: Kolmogorov-Arnold Networks*, arXiv 2404.19756: pruning, refinement, symbolic edges.
# * Liu et al., *KAN 2.0: Kolmogorov-Arnold Networks Meet Science*, arXiv 2408.10205: attribution scores.
