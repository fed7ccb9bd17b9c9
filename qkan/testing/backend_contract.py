"""The checks that every backend must pass.

A test class derives from :class:`BackendContract` and says how to make the backend and what it can do; it then receives
all tests below::

    from qkan.testing import BackendContract

    class TestMyBackend(BackendContract):
        kind = MyBackend.capabilities

        def make(self, **options):
            return MyBackend(**options)

The class is not collected by itself, as its name does not start with "Test".
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

from qkan.circuits import Circuit, X, Y, Z, data, gradients, mitigation, packing, parameter, statevector
from qkan.circuits.backends import Backend, Capabilities
from qkan.circuits.rows import by_angle
from qkan.errors import NonFiniteError, OptionError, ShapeError
from qkan.testing.random_circuits import random_circuit, random_inputs

#: One circuit with constants, parameters and data, a controlled rotation, and strings that need several settings.
CIRCUIT = (
    Circuit(2)
    .h(0)
    .ry(0.5 * data(0) + parameter("a"), 0)
    .rz(data(1) - 0.3, 1)
    .crx(parameter("b"), 0, 1)
    .rot(0.2, parameter("a"), data(0), 1)
    .measure(Z(0) @ Z(1) + 0.5 * X(0), Y(1), Z(0) - 2 * X(1))
)


class BackendContract:
    """Derive, define ``make`` and ``kind``, and set the attributes that differ.

    Attributes:
        kind: the capabilities, read from the class because a backend that samples cannot be made without shots.
        tolerance: largest difference from the plain simulator where the backend is exact.
        seeds: of the random circuits that are tried.
        shots: per circuit in the tests that sample.
    """

    kind: Capabilities
    tolerance: float = 1e-6
    seeds: Iterable[int] = range(6)
    shots: int = 2000

    def make(self, **options: Any) -> Backend:
        """A backend without noise; ``options`` are ``shots`` and ``seed``."""
        raise NotImplementedError

    def exact(self) -> Backend:
        """The backend without shots; the test is skipped where it only samples."""
        backend = self.make(seed=0) if self.takes("exact") else None
        return backend or pytest.skip("this backend only samples")

    def sampling(self, seed: int | None = 0) -> Backend:
        """The backend with shots; the test is skipped where it only computes."""
        return self.make(seed=seed, shots=self.shots) if self.takes("shots") else pytest.skip("this backend is exact")

    def takes(self, what: str) -> bool:
        """Whether a capability is there."""
        return getattr(self.kind, what)

    # -- values --------------------------------------------------------------------------------------------------

    def test_exact_values(self):
        backend = self.exact()
        for seed in self.seeds:
            circuit = random_circuit(seed, 1 + seed % 4, 3 * seed)
            x, theta = random_inputs(circuit, 3, seed=seed)
            found = backend.expectations(circuit, x, theta)
            expected = statevector.expectations(circuit, x, theta)
            assert found.values.dtype == np.float64
            np.testing.assert_allclose(found.values, expected.expand(3, -1), rtol=0, atol=self.tolerance)
            assert not found.variances.any()

    def test_shots_within_five_standard_errors(self):
        backend = self.sampling()
        for seed in self.seeds:
            circuit = random_circuit(seed, 1 + seed % 3, 3 * seed)
            x, theta = random_inputs(circuit, 2, seed=seed)
            found = backend.expectations(circuit, x, theta)
            expected = statevector.expectations(circuit, x, theta).expand(2, -1).numpy()
            assert (np.abs(found.values - expected) <= 5 * np.sqrt(found.variances) + 1e-9).all()
            assert (found.variances <= self.bound(circuit) ** 2 / self.shots * 1.01).all()

    @staticmethod
    def bound(circuit: Circuit) -> np.ndarray:
        """Largest possible standard deviation of one shot, (observables,), settings measured apart."""
        return np.array([sum(abs(c) for c, string in one.terms if string) for one in circuit.observables])

    def test_stated_variance_is_the_spread(self):
        backend = self.sampling()
        x = torch.tensor([[0.4, -1.1]] * 200, dtype=torch.float64)
        found = backend.expectations(CIRCUIT, x, torch.tensor([0.3, 1.0]))
        ratio = found.values.var(0, ddof=1) / found.variances.mean(0)
        assert ((ratio > 0.65) & (ratio < 1.45)).all()  # χ² with 199 degrees of freedom, 4.5 standard deviations

    def test_seeds(self):
        x, theta = torch.tensor([[0.4, -1.1]]), torch.tensor([0.3, 1.0])
        first, again = (self.sampling(7).expectations(CIRCUIT, x, theta).values for _ in range(2))
        np.testing.assert_array_equal(first, again)
        backend = self.sampling(7)
        one, two = (backend.expectations(CIRCUIT, x, theta).values for _ in range(2))
        assert (one != two).any()

    def test_amplitudes(self):
        backend = self.make(seed=0) if self.takes("exact") else self.sampling()
        circuit = Circuit(2).amplitude_embedding(columns=3).ry(parameter("a"), 0).cz(0, 1).measure(X(0), Z(1))
        x, theta = torch.tensor([[0.3, -1.0, 0.4], [2.0, 0.1, 0.0]]), torch.tensor([0.7])
        found = backend.expectations(circuit, x, theta)
        expected = statevector.expectations(circuit, x.double(), theta.double()).numpy()
        limit = self.tolerance + 5 * np.sqrt(found.variances)
        assert (np.abs(found.values - expected) <= limit).all()

    def test_folded_and_packed_circuits(self):
        """Columns with factors and constants, used more than once, beside amplitudes: what deployment sends."""
        backend = self.make(seed=0) if self.takes("exact") else self.sampling()
        circuit = by_angle(Circuit(2).amplitude_embedding([0], start=1).ry(data(0), 1).crx(0.4 + data(0), 0, 1))
        folded = mitigation.fold(packing.pack(circuit.measure(Z(1), X(1)), 2), 3)
        rows = packing.pack_rows(np.array([[0.3, 1.2, 0.8, -0.5], [1.1, -0.7, 0.1, 0.9], [0.2, 0.4, 1.0, 0.3]]), 2)
        found = backend.run(folded, rows)
        expected = statevector.expectations(folded, torch.from_numpy(rows)).numpy()
        limit = self.tolerance + 5 * np.sqrt(found.variances)
        assert (np.abs(found.values - expected) <= limit).all()

    def test_constants_and_no_rows(self):
        backend = self.make(seed=0) if self.takes("exact") else self.sampling()
        circuit = Circuit(1).ry(0.6, 0)
        found = backend.expectations(circuit)
        assert abs(found.values[0, 0] - math.cos(0.6)) <= self.tolerance + 5 * found.variances[0, 0] ** 0.5
        none = backend.expectations(CIRCUIT, torch.zeros(0, 2), torch.zeros(2))
        assert none.values.shape == none.variances.shape == (0, 3)

    # -- gradients -----------------------------------------------------------------------------------------------

    def test_gradients_are_exact_with_respect_to_inputs_and_parameters(self):
        backend = self.exact()
        x = torch.tensor([[0.4, -1.1], [2.0, 0.3]], dtype=torch.float64, requires_grad=True)
        theta = torch.tensor([0.3, 1.0], dtype=torch.float64, requires_grad=True)
        weight = torch.tensor([[1.0, -0.5, 2.0], [0.3, 1.0, 0.1]], dtype=torch.float64)
        found = torch.autograd.grad((gradients.expectations(backend, CIRCUIT, x, theta) * weight).sum(), (x, theta))
        plain = torch.autograd.grad((statevector.expectations(CIRCUIT, x, theta) * weight).sum(), (x, theta))
        for mine, its in zip(found, plain, strict=True):
            torch.testing.assert_close(mine, its, rtol=0, atol=10 * self.tolerance)

    def test_gradients_from_shots(self):
        backend = self.sampling()
        theta = torch.tensor([0.3, 1.0], dtype=torch.float64, requires_grad=True)
        x = torch.tensor([[0.4, -1.1]], dtype=torch.float64)
        (found,) = torch.autograd.grad(gradients.expectations(backend, CIRCUIT, x, theta).sum(), theta)
        (plain,) = torch.autograd.grad(statevector.expectations(CIRCUIT, x, theta).sum(), theta)
        # Each derivative is a sum of at most 8 means of outcomes within ±4.5 with coefficients below 0.61.
        assert (found - plain).abs().max() < 5 * 4.5 * math.sqrt(8 / self.shots) * 0.61

    # -- mistakes ------------------------------------------------------------------------------------------------

    def test_mistakes_are_one_sentence(self):
        backend = self.make(seed=0) if self.takes("exact") else self.sampling()
        with pytest.raises(NonFiniteError, match="NaN or infinity"):
            backend.expectations(CIRCUIT, torch.tensor([[0.1, math.nan]]), torch.zeros(2))
        with pytest.raises(ShapeError, match="must have 2 as the last dimension"):
            backend.expectations(CIRCUIT, torch.zeros(1, 3), torch.zeros(2))
        wide = Circuit(backend.capabilities.wires + 1).h(0)
        with pytest.raises(OptionError, match=f"has {wide.wires} wires, but backend '{backend.name}' has"):
            backend.expectations(wide)
        for shots in (0, -5, 2.5):
            with pytest.raises(OptionError, match="shots"):
                self.make(shots=shots)
        if self.takes("exact"):
            assert self.make().shots is None
        else:
            with pytest.raises(OptionError, match="give shots=N"):
                self.make()

    def test_copies_share_the_backend(self):
        backend = self.make(seed=0) if self.takes("exact") else self.sampling()
        assert copy.deepcopy(backend) is backend
        assert self.takes("shots") is False or backend.with_shots(123).shots == 123
