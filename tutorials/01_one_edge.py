# %% [markdown]
# # One edge: a re-uploading qubit as an activation function
#
# In a Kolmogorov-Arnold network (KAN) every edge carries a function of one variable that is trained. In a QKAN that
# function is computed by one qubit (DARUAN, arXiv 2509.14026). This page takes one such edge apart. You need PyTorch,
# and nothing about quantum computing.
#
# What to know about a qubit: its state is a point on a sphere, the **Bloch sphere**. A **gate** turns the sphere about
# an axis by some angle. A **measurement** of Z gives +1 or -1 at random; its mean, written ⟨Z⟩, is the height of
# the point. That is all we need.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import qkan
from qkan.circuits import backends, daruan
from qkan.kernels import spectral
from qkan.kernels.reference import rotate

# %% [markdown]
# ## The circuit
# Rotations by trainable angles (`theta`) alternate with rotations by the input (`x`). Feeding the input in again
# and again is called **re-uploading**; here it happens twice, `reps=2`. `H` moves the point from the pole to the
# equator, where the rotations start. RZ turns about the vertical axis, RY about a horizontal one.

# %%
circuit = daruan(reps=2, ansatz="pz").circuit
print(circuit)
figure = circuit.draw("mpl")

# %% [markdown]
# `x[0]` and `x[1]` are the angles of the first and the second data gate. The layer sets them both to its input, as
# below, or to multiples of it.
#
# ## The edge as a function
# Five edges with random angles and three repetitions. Each is a smooth function of the input with period 2π and
# values between -1 and 1, as the height of a point on a sphere must be.

# %%
edges = qkan.bases.Daruan(1, 5, reps=3, seed=0).double()  # one input, five outputs: five edges
x = torch.linspace(-torch.pi, torch.pi, 401, dtype=torch.float64)
with torch.no_grad():
    values = edges.edges(x[:, None])[..., 0]  # (401, 5)
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(x, values)
axes.set(xlabel="input x", ylabel="⟨Z⟩", title="Five DARUAN edges, reps = 3")
assert values.abs().max() <= 1
assert torch.allclose(values[0], values[-1])  # period 2π

# %% [markdown]
# ## The path on the Bloch sphere
# The state is a vector in R³ of length 1. Complex numbers are not needed for one qubit: every gate turns that vector
# about an axis. We follow the first edge at x = 2, gate by gate. Its height at the end is the value of the edge.

# %%
theta, angle_of_data = edges.theta[0, 0].detach(), torch.tensor(2.0, dtype=torch.float64)
one, zero = (torch.tensor(v, dtype=torch.float64) for v in (1.0, 0.0))
vector = one, zero, zero  # after H: on the equator
path, by_data = [vector], []
for axis, source, value in edges.circuit.gates:
    angle = theta[int(value)] if source == "theta" else angle_of_data
    for _ in range(20):  # in small steps, so that the path can be drawn
        vector = rotate(vector, axis, angle / 20)
        path.append(vector)
        by_data.append(source == "data")
points = np.array([[float(c) for c in v] for v in path])

figure = plt.figure(figsize=(5, 5))
axes = figure.add_subplot(projection="3d")
around, up = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(0, np.pi, 13))
sphere = np.cos(around) * np.sin(up), np.sin(around) * np.sin(up), np.cos(up)
axes.plot_wireframe(*sphere, color="lightgray", linewidth=0.4)
for start, data in enumerate(by_data):
    axes.plot(*points[start : start + 2].T, color="tab:orange" if data else "tab:blue", linewidth=2)
axes.scatter(*points[0], color="green", s=50, label="start")
axes.scatter(*points[-1], color="red", s=50, label=f"end, height {points[-1, 2]:.2f}")
axes.plot([], [], color="tab:blue", label="trainable gates")
axes.plot([], [], color="tab:orange", label="data gates, each by x = 2")
axes.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1], zticks=[-1, 0, 1], zlabel="Z", box_aspect=(1, 1, 1))
axes.view_init(elev=25, azim=20)
axes.legend(loc="upper left", fontsize=8)
value = float(edges.edges(angle_of_data[None])[0, 0].detach())
np.testing.assert_allclose(points[-1, 2], value, atol=1e-14)
np.testing.assert_allclose((points**2).sum(1), 1)  # it never leaves the sphere

# %% [markdown]
# ## The spectrum
# Two turns about the vertical axis by x add up to one by 2x. So an edge with three data gates has no
# frequency above 3: it is a **trigonometric polynomial** of degree 3. If the data gates turn by x, 2x and 4x the degree
# is 1 + 2 + 4 = 7; with x, 3x and 9x it is 13. The Fourier transform shows it: beyond the degree there is nothing
# but rounding.

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
# A trigonometric polynomial of degree 3 has seven coefficients, so seven values fix it **everywhere**. Evaluate the
# circuit at seven equally spaced nodes, and interpolate: at every other x the result is exact. The function that is 1
# at one node and 0 at the others is called a Dirichlet kernel; the interpolation is a sum of seven of them.

# %%
nodes = torch.as_tensor(spectral.circle_nodes(3))
with torch.no_grad():
    at_nodes = edges.edges(nodes[:, None])[:, 0, 0]
kernels = spectral.dirichlet(x, 3)  # (401, 7)
interpolated = kernels @ at_nodes
error = float((interpolated - values[:, 0]).abs().max())
print(f"largest error of the interpolation below 1e-13: {error < 1e-13}")
assert error < 1e-13

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3))
left.plot(x, kernels, linewidth=1)
left.set(xlabel="input x", title="Seven Dirichlet kernels")
right.plot(x, values[:, 0], label="circuit at 401 points")
right.plot(x, interpolated, "--", label="interpolated from 7 nodes")
right.scatter((nodes + torch.pi) % (2 * torch.pi) - torch.pi, at_nodes, color="black", zorder=3, label="nodes")
right.set(xlabel="input x", ylabel="⟨Z⟩", title="One edge")
right.legend(fontsize=8)

# %% [markdown]
# This is the fact the whole toolkit rests on. While training, a layer evaluates its circuits at the nodes only, and the
# rest is a matrix product, however many rows the batch has. On hardware, a trained edge costs seven circuits, once, for
# all data it will ever see.
#
# ## Shots
# A device does not return ⟨Z⟩. It returns +1 or -1 for every **shot**, and we take the mean. Does the interpolation
# amplify that noise between the nodes? No: the squares of the kernels sum to 1 at every x, so the variance at x is a
# weighted mean of the variances at the nodes. Below, the edge is measured 2000 times with 200 shots per node.

# %%
assert torch.allclose((kernels**2).sum(-1), torch.ones_like(x))
sampler = backends.get("torch", shots=200, seed=0)  # a simulator that returns shots
repeats, angles = 2000, nodes.repeat(2000)[:, None].expand(-1, 3)  # all three data gates turn by the node
measured = sampler.expectations(edges.circuit.circuit, angles, theta.expand(len(angles), -1)).values
curves = torch.as_tensor(measured).reshape(repeats, 7) @ kernels.T  # 2000 measured edges, everywhere
spread = curves.std(0)
worst = float(((1 - at_nodes**2) / 200).sqrt().max())  # of one node: a shot has variance 1 - ⟨Z⟩²

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3))
left.plot(x, curves[:20].T, color="tab:gray", linewidth=0.5)
left.plot(x, values[:, 0], color="tab:blue")
left.set(xlabel="input x", ylabel="⟨Z⟩", title="Twenty measured edges and the exact one")
right.plot(x, spread, label="spread of 2000 measured edges")
right.axhline(worst, color="black", linestyle="--", label="of the noisiest node")
right.set(xlabel="input x", ylim=(0, 0.1), title="Standard deviation")
right.legend(fontsize=8)
assert spread.max() < 1.1 * worst  # 2000 repeats know a standard deviation to 1.6 %
assert (curves.mean(0) - values[:, 0]).abs().max() < 5 * worst / repeats**0.5

# %% [markdown]
# ## Train it
# The angles are ordinary parameters with exact gradients. Here one edge learns a target within its reach: the shape
# is free up to degree 3, as long as it stays between -1 and 1. An activation function such as ReLU has no such freedom.

# %%
target = 0.5 * torch.sin(x) + 0.3 * torch.cos(2 * x + 1)
learner = qkan.bases.Daruan(reps=3, seed=2).double()
before = learner.edges(x[:, None])[:, 0, 0].detach()
optimiser = torch.optim.Adam(learner.parameters(), lr=0.1)
for _ in range(200):
    optimiser.zero_grad()
    loss = (learner(x[:, None])[:, 0] - target).square().mean()
    loss.backward()
    optimiser.step()
after = learner.edges(x[:, None])[:, 0, 0].detach()
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(x, target, color="black", label="target")
axes.plot(x, before, ":", label="edge before")
axes.plot(x, after, "--", label="edge after 200 steps")
axes.set(xlabel="input x", ylabel="⟨Z⟩", title=f"One edge with {sum(p.numel() for p in learner.parameters())} angles")
axes.legend(fontsize=8)
assert (after - target).square().mean() < 1e-3

# %% [markdown]
# ## Try it
# * Change `ansatz` to "rpz", "mix" or "real". How does the circuit look, and how many angles does an edge have?
# * Set `reps=5`. How many nodes does an edge need then? And with `frequencies="ternary"`?
# * What does a "real" edge look like, and why (hint: how many harmonics does it have)?
# * Train towards a triangle wave. Which `reps` do you need for a mean squared error below 0.001?
#
# ## References
# * Jiang, Huang, Chen, Goan, *Quantum Variational Activation Functions Empower Kolmogorov-Arnold Networks*,
#   arXiv 2509.14026: DARUAN and QKAN.
# * Pérez-Salinas et al., *Data re-uploading for a universal quantum classifier*, Quantum 4, 226 (2020),
#   arXiv 1907.02085.
# * Schuld, Sweke, Meyer, *Effect of data encoding on the expressive power of variational quantum machine learning
#   models*, Phys. Rev. A 103, 032430 (2021), arXiv 2008.08605: the spectrum.
# * Schreiber, Eisert, Meyer, *Classical surrogates for quantum learning models*, PRL 131, 100803 (2023),
#   arXiv 2206.11740: circuits replaced by trigonometric polynomials.
