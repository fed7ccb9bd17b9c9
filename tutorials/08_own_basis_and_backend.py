# %% [markdown]
# # Write your own basis and your own backend
#
# A **basis** says what the edges of a KAN can look like. A **backend** runs quantum circuits. Both are small classes:
# twenty and forty-five lines here. This page writes one of each, and then runs the **contract tests**: the checks that
# every basis and every backend of the toolkit passes, ready to be derived from. A class that passes them works
# everywhere: in layers, training, saving, refinement, deployment.

# %%
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

import qkan
from qkan.bases import ClassicalBasis, register
from qkan.circuits import backends, deploy, gates, measurement
from qkan.circuits.backends import Backend, Capabilities, Result
from qkan.testing import BackendContract, BasisContract, run_contract

# %% [markdown]
# ## A basis
# Polynomials and splines need an interval: outside of it somebody has to decide what happens. The **rational Chebyshev
# functions** live on the whole line. They are Chebyshev polynomials of x/√(1+x²), which never leaves [-1, 1]:
#
# $$B_k(x) = T_k\left(\frac{x}{\sqrt{1+x^2}}\right) = \cos(k\,t), \qquad t = \operatorname{arccot} x .$$
#
# `ClassicalBasis` supplies the trainable coefficients, their initialisation, `forward` and `edges`. We say which
# options there are (`config`), what the features are (`evaluate`), and how a small basis sits inside a larger one
# (`refine`).

# %%


@register("rational_chebyshev")
class RationalChebyshev(ClassicalBasis):
    """Chebyshev polynomials of x/√(1+x²), on the whole line."""

    def __init__(self, in_features=1, out_features=1, *, degree=5, seed=None):
        self.degree = degree
        super().__init__(in_features, out_features, degree + 1, seed)

    def config(self):
        return {"degree": self.degree}

    def evaluate(self, x):  # (..., n) -> (..., n, K)
        angle = torch.atan2(torch.ones_like(x), x)  # arccot x, between 0 and π
        return torch.cos(angle[..., None] * torch.arange(self.degree + 1, device=x.device))

    def refine(self, size):
        return self.padded("degree", size, torch.arange(self.degree + 1))


x = torch.linspace(-8, 8, 400)
with torch.no_grad():
    features = RationalChebyshev(1, 1, degree=5).features(x[:, None])[:, 0]
figure, axes = plt.subplots(figsize=(7, 3))
axes.plot(x, features, label=[f"k = {k}" for k in range(6)])
axes.set(xlabel="x", title="Rational Chebyshev functions")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
assert features.abs().max() <= 1

# %% [markdown]
# ## Its contract
# `BasisContract` holds some forty checks: shapes with any leading dimensions, values in three precisions, gradients
# against finite differences, no NaN far away, rows that do not see each other, `torch.compile`, saving, refinement
# that keeps the function, outputs of unit size at every width, seeds that leave global random state alone.
#
# You supply the basis, and the same values **computed in another way** (`dense_reference`). If both came from one piece
# of code, the check would be worth nothing. Here NumPy's Chebyshev series does it.

# %%


class TestRationalChebyshev(BasisContract):
    layer_options = {"basis": "rational_chebyshev", "degree": 4}
    interior = (-3.0, 3.0)  # where random inputs are drawn
    refine_size = 7  # refining to this degree must keep the function

    def make_basis(self, in_features, out_features, **options):
        return RationalChebyshev(in_features, out_features, degree=4, **options)

    def dense_reference(self, basis, x):  # (..., n) -> (..., m, n)
        points = (x / (1 + x**2).sqrt()).numpy()
        coefficients = basis.coef.detach().double().numpy()  # (m, n, K)
        edges = [
            [np.polynomial.chebyshev.chebval(points[..., i], coefficients[o, i]) for i in range(basis.in_features)]
            for o in range(basis.out_features)
        ]
        return torch.as_tensor(np.array(edges)).movedim((0, 1), (-2, -1))


# %% [markdown]
# In a project of your own this class stands in a test file, and `pytest` finds it. In a notebook, `run_contract` runs
# it.

# %%
verdict = run_contract(TestRationalChebyshev)
print(verdict)
assert not verdict.failed
assert len(verdict.passed) >= 40

# %% [markdown]
# Does the contract notice a mistake? Let `refine` put the old coefficients into the wrong places.


# %%
@register("careless")
class Careless(RationalChebyshev):
    """Refines wrongly: coefficients move up by one."""

    def refine(self, size):
        return self.padded("degree", size, torch.arange(1, self.degree + 2))


class TestCareless(TestRationalChebyshev):
    layer_options = {"basis": "careless", "degree": 4}

    def make_basis(self, in_features, out_features, **options):
        return Careless(in_features, out_features, degree=4, **options)


verdict = run_contract(TestCareless)
print(verdict)
assert verdict.failed == [
    "test_refining_keeps_the_function_or_is_refused",
    "test_refining_in_float64_keeps_float64_precision",
]

# %% [markdown]
# ## Use it
# The name is registered, so networks take it. We fit two functions with one layer of each basis, six coefficients per
# edge: one with slow tails on inputs that now and then lie far out (Student's t with two degrees of freedom), and a
# wiggly one on an interval. A basis is a bet on what the data look like: ours wins the first and loses the second.

# %%


def tails(x):
    return (x / (1 + x**2)).sum(1, keepdim=True)


def wiggles(x):
    return torch.sin(4 * x).sum(1, keepdim=True)


rng = np.random.default_rng(0)
far = torch.as_tensor(rng.standard_t(2, size=(1000, 2)), dtype=torch.float32)
near = torch.as_tensor(rng.uniform(-1, 1, size=(1000, 2)), dtype=torch.float32)
options: dict[str, dict[str, Any]] = {
    "rational_chebyshev": {"degree": 5},
    "chebyshev": {"degree": 5},
    "bspline": {"grid": 3, "k": 3},
}
scores = {}
for basis, own in options.items():
    for name, function, x in (("tails", tails, far), ("wiggles", wiggles, near)):
        model = qkan.KAN([2, 1], basis, base=None, seed=0, **own)
        model.fit((x[:500], function(x[:500])), opt="LBFGS", steps=20, progress=False)
        with torch.no_grad():
            error = (model(x[500:]) - function(x[500:])).square().mean().sqrt()
        scores[basis, name] = float(error)
        print(f"{name:8s} {basis:20s} held-out RMSE {error:.4f}")

figure, axes = plt.subplots(figsize=(6, 3))
for shift, name in ((-0.2, "tails"), (0.2, "wiggles")):
    axes.bar(np.arange(3) + shift, [scores[basis, name] for basis in options], width=0.4, label=name)
axes.set_xticks(range(3), options)
axes.set(ylabel="held-out RMSE", title="One layer, six coefficients per edge")
axes.legend()
assert scores["rational_chebyshev", "tails"] < min(scores["chebyshev", "tails"], scores["bspline", "tails"])
assert scores["rational_chebyshev", "wiggles"] > scores["bspline", "wiggles"]

# %% [markdown]
# ## A backend
# A backend receives a **task**: one circuit, and a table with one row of numbers for every run of it. It returns the
# mean of every observable for every row, and the variance of that mean. Here is a whole simulator in NumPy. The state
# of n qubits is an array of 2ⁿ complex numbers, kept in the shape (2, 2, …, 2), one axis per qubit; a gate is a matrix
# that is applied to its axes; squared magnitudes are the chances of the outcomes.
#
# Where you have a device, its own call stands in the place of `chances`. `measurement.groups` says which observables
# can be read off one measurement, and `measurement.estimate` turns counts into means with variances. So that there is
# an error to correct, ours can **misread**: with probability `misread` a 0 is taken for a 1, or a 1 for a 0.

# %%


class NumpyBackend(Backend):
    """State vectors in NumPy, with misread bits if wanted."""

    name = "numpy"
    capabilities = Capabilities(exact=True, shots=True, wires=12)

    def __init__(self, shots=None, seed=None, misread=0.0):
        super().__init__(shots, seed)
        self.misread, self.settings = misread, {"misread": misread}

    def execute(self, task):
        draw, count = np.random.default_rng(task.seed), len(task.circuit.observables)
        bits = measurement.all_bits(task.circuit.wires)  # of all outcomes
        values, variances = np.zeros((2, len(task.rows), count))
        for group in measurement.groups(task.circuit.observables):
            circuit = group.rotated(task.circuit)  # turned such that Z is measured on every wire
            for place, row in enumerate(task.rows):
                chances = self.chances(circuit, row)
                if task.shots is None:
                    values[place] += chances @ group.values(bits, count)
                else:
                    counts = draw.multinomial(task.shots, chances)
                    mean, variance = measurement.estimate(group, bits, counts, count)
                    values[place] += mean
                    variances[place] += variance
        return Result(values, variances, {"backend": self.name, "shots": task.shots})

    def chances(self, circuit, row):
        """Of all outcomes, shape (2^wires,)."""
        psi = np.zeros([2] * circuit.wires, complex)
        psi.flat[0] = 1
        for gate in circuit.gates:
            if gate.name == "Barrier":
                continue
            k = len(gate.wires)
            if gate.columns:  # an embedding of amplitudes acts on |0⟩: only the first column of its matrix counts
                matrix = np.zeros((2**k, 2**k))
                matrix[: len(gate.columns), 0] = row[list(gate.columns)] / np.linalg.norm(row[list(gate.columns)])
            else:
                angles = [one.constant + sum(factor * row[c] for c, factor in one.data) for one in gate.angles]
                angles = torch.tensor(angles, dtype=torch.float64)
                matrix = gates.matrix(gate.name, angles, torch.zeros(1, dtype=torch.complex128)).numpy()
            psi = np.tensordot(matrix.reshape([2] * (2 * k)), psi, (range(k, 2 * k), gate.wires))
            psi = np.moveaxis(psi, range(k), gate.wires)
        found = np.abs(psi) ** 2
        for wire in range(circuit.wires):
            found = (1 - self.misread) * found + self.misread * np.flip(found, wire)
        return found.ravel() / found.sum()


# %% [markdown]
# ## Its contract
# `BackendContract` compares the backend with the toolkit's plain simulator on random circuits of all gates: exact
# values to 1e-6, or tighter if you say so; sampled values within five standard errors, with a stated variance that is
# the actual spread; the same values for the same seed; gradients by the parameter-shift rule; one-sentence errors for
# bad input.

# %%


class TestNumpyBackend(BackendContract):
    kind = NumpyBackend.capabilities
    tolerance = 1e-12

    def make(self, **options):
        return NumpyBackend(**options)


verdict = run_contract(TestNumpyBackend)
print(verdict)
assert not verdict.failed
assert len(verdict.passed) >= 10

# %% [markdown]
# ## Use it
# Everything that takes a backend takes yours. We train a small QKAN exactly, then **deploy** it: its circuits run on
# the backend once, and the measured values replace the exact ones. With 5 % of the bits misread, every ⟨Z⟩ shrinks to
# 90 %. That is an error which calibration can undo: two further circuits tell how often bits are misread, and
# `readout_mitigation=True` corrects for it, on your backend as on all others.

# %%
data = qkan.create_dataset(lambda x: torch.sin(2 * x) * torch.exp(-(x**2)), n_var=1, ranges=(-2, 2), seed=0)
model = qkan.QKAN([1, 3, 1], reps=3, base=None, seed=0)
model.fit(data, opt="LBFGS", steps=20, progress=False)
x = torch.linspace(-2, 2, 200)[:, None]
exact = model(x).detach()

curves = {}
for label, backend, mitigation in (
    ("exact backend", NumpyBackend(), False),
    ("misread", NumpyBackend(shots=20_000, misread=0.05), False),
    ("misread, corrected", NumpyBackend(shots=20_000, misread=0.05), True),
):
    run = deploy(model, backend, readout_mitigation=mitigation, seed=0, progress=False)
    curves[label] = run.model(x).detach()
    error = float((curves[label] - exact).square().mean().sqrt())
    print(f"{label:20s} RMS deviation from the trained model {error:.1e}")

figure, axes = plt.subplots(figsize=(7, 3.5))
axes.plot(x, exact, color="black", label="trained")
for (label, curve), style in zip(curves.items(), ("--", "-", "-"), strict=True):
    axes.plot(x, curve, style, label=label)
axes.set(xlabel="x", ylabel="output", title="One network on our backend")
axes.legend(fontsize=8)
deviation = {label: float((curve - exact).square().mean().sqrt()) for label, curve in curves.items()}
assert deviation["exact backend"] < 1e-5
assert deviation["misread, corrected"] < deviation["misread"] / 2

# %% [markdown]
# `backends.get` returns a backend object as it is, so functions that ask for a name take yours too. For jobs that run
# elsewhere, override `submit`, `attach` and `find` in the place of `execute`: then a deployment survives a crash of
# this process without paying for anything twice (tutorial 6).

# %%
mine = NumpyBackend(shots=100, seed=0)
assert backends.get(mine) is mine
print(mine)

# %% [markdown]
# ## Try it
# * Give the basis a trainable scale: B_k(x/s). `qkan/bases/sine.py` shows how (`add_shape_parameters`). What does
#   the contract say?
# * Break the backend: forget `group.rotated`, swap two wires, or leave out `dtype=torch.float64`. Which tests notice?
# * Let 0 be misread more often than 1. Is the correction still right?
#
# ## References
# * J. P. Boyd, *Spectral methods using rational basis functions on an infinite interval*, J. Comput. Phys. 69, 112
#   (1987): the basis.
# * Liu et al., *KAN: Kolmogorov-Arnold Networks*, arXiv 2404.19756.
# * Bravyi et al., *Mitigating measurement errors in multi-qubit experiments*, Phys. Rev. A 103, 042605 (2021),
#   arXiv 2006.14044: correcting misread bits.
