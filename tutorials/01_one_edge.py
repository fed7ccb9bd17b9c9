# %% [markdown]
# # One edge: a re-uploading qubit as an activation function
#
# A DARUAN edge is one qubit. Trainable rotations alternate with rotations by the data, and the edge's value is ⟨Z⟩ at
# the end (arXiv 2509.14026). This page draws the circuit, follows the qubit on the Bloch sphere, looks at the spectrum,
# and shows the fact the whole toolkit rests on: **a handful of circuit evaluations fix the edge everywhere.**

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import qkan
from qkan.circuits import daruan
from qkan.kernels import spectral
from qkan.kernels.reference import rotate

print(daruan(reps=3, ansatz="pz"))

# %% [markdown]
# ## The edge as a function
# Five random edges with three repetitions. Each is a smooth function with period 2π and values in [-1, 1].

# %%
edges = qkan.bases.Daruan(1, 5, reps=3, seed=0).double()
x = torch.linspace(-torch.pi, torch.pi, 400, dtype=torch.float64)
with torch.no_grad():
    values = edges.edges(x[:, None])[..., 0]
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(x, values)
axes.set(xlabel="x", ylabel="⟨Z⟩", title="Five DARUAN edges, reps = 3")
assert values.abs().max() <= 1

# %% [markdown]
# ## The path on the Bloch sphere
# No complex numbers are needed: a one-qubit state is a vector in R³, and every gate turns it about an axis.

# %%
theta = edges.theta[0, 0].detach()
vector = tuple(torch.tensor(v, dtype=torch.float64) for v in (1.0, 0.0, 0.0))
path = [vector]
for axis, source, value in edges.circuit.gates:
    angle = theta[int(value)] if source == "theta" else torch.tensor(0.8, dtype=torch.float64)
    for _ in range(20):
        vector = rotate(vector, axis, angle / 20)
        path.append(vector)
points = np.array([[float(c) for c in v] for v in path])
figure = plt.figure(figsize=(4, 4))
axes = figure.add_subplot(projection="3d")
axes.plot(*points.T)
axes.scatter(*points[[0, -1]].T, color=["green", "red"])
axes.set(xlabel="x", ylabel="y", zlabel="z", title="x = 0.8: from |+⟩ (green) to the end (red)")
np.testing.assert_allclose(points[-1, 2], float(edges.edges(torch.tensor([0.8], dtype=torch.float64))[0, 0].detach()))

# %% [markdown]
# ## The spectrum
# With data weights 1, 1, 1 the edge is a trigonometric polynomial of degree 3; with 1, 2, 4 of degree 7; with
# 1, 3, 9 of degree 13. The Fourier transform shows it: everything beyond is zero to rounding.

# %%
grid = torch.arange(64, dtype=torch.float64) * 2 * torch.pi / 64
figure, axes = plt.subplots(figsize=(6, 3))
for frequencies, degree in (("unit", 3), ("binary", 7), ("ternary", 13)):
    edge = qkan.bases.Daruan(reps=3, frequencies=frequencies, seed=1).double()
    with torch.no_grad():
        spectrum = torch.fft.rfft(edge.edges(grid[:, None])[:, 0, 0]).abs() / 64
    axes.semilogy(spectrum + 1e-17, marker="o", ms=3, label=f"{frequencies}: degree {degree}")
    assert spectrum[degree + 1 :].max() < 1e-14
axes.set(xlabel="frequency", ylabel="magnitude", title="Spectrum of one edge")
axes.legend()

# %% [markdown]
# ## Nodes: seven circuit runs are enough
# A degree-3 polynomial is fixed by 7 values. Evaluate the circuit at 7 nodes, then interpolate with Dirichlet kernels:
# the result is exact at every x. On hardware this means 7 circuits per edge, however many data points there are.

# %%
nodes = torch.as_tensor(spectral.circle_nodes(3))
with torch.no_grad():
    at_nodes = edges.edges(nodes[:, None])[:, 0, 0]
interpolated = spectral.dirichlet(x, 3) @ at_nodes
print("largest error of the interpolation:", float((interpolated - values[:, 0]).abs().max()))
assert (interpolated - values[:, 0]).abs().max() < 1e-13
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(x, values[:, 0], label="circuit at 400 points")
axes.plot(x, interpolated, "--", label="interpolated from 7 nodes")
shifted = (nodes + torch.pi) % (2 * torch.pi) - torch.pi
axes.scatter(shifted, at_nodes, color="black", zorder=3, label="nodes")
axes.set(xlabel="x", ylabel="⟨Z⟩")
axes.legend()

# %% [markdown]
# ## Shot noise is not amplified
# The squared Dirichlet kernels sum to 1 at every x, so the variance of the interpolated value is an average of the
# variances at the nodes.

# %%
squares = (spectral.dirichlet(x, 3) ** 2).sum(-1)
print("sum of squares:", float(squares.min()), "to", float(squares.max()))
assert torch.allclose(squares, torch.ones_like(squares))

# %% [markdown]
# ## Try it
# Change `ansatz` to "rpz", "mix" or "real", or `reps` to 5. How many nodes does an edge need then? What does "real"
# with unit frequencies look like, and why (hint: how many harmonics does it have)?
#
# **References.** Jiang et al., arXiv 2509.14026. Schuld, Sweke, Meyer, Phys. Rev. A 103, 032430 (2021). Schreiber,
# Eisert, Meyer, PRL 131, 100803 (2023).
