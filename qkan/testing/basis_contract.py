"""The checks that every basis must pass.

A test class derives from :class:`BasisContract`, says how to make the basis and computes its edge values in another
way; it then receives all tests below::

    from qkan.testing import BasisContract

    class TestMyBasis(BasisContract):
        layer_options = {"basis": "my_basis", "size": 5}

        def make_basis(self, in_features, out_features, **kw): ...
        def dense_reference(self, basis, x): ...

The class is not collected by itself, as its name does not start with "Test".
"""

from __future__ import annotations

import copy
import itertools
import json
import random
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import qkan
from qkan.bases import Basis, FeatureBasis
from qkan.errors import OptionError, RefineError, RefineWarning, ShapeError

#: Inputs and outputs that are tried.
SIZES = (1, 3, 8)
#: bfloat16 keeps 8 significant bits, so rounding to nearest changes a number by at most this fraction.
BFLOAT16_UNIT = 2.0**-8


def uniform(shape: tuple[int, ...], low: float, high: float, seed: int = 0) -> Tensor:
    """Uniform float64 numbers (*shape,) between ``low`` and ``high``, from a local generator with a ``seed``."""
    local = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(shape, generator=local, dtype=torch.float64)


def stratified_normal(count: int, seed: int) -> Tensor:
    """A standard-normal sample (count,), one point in each of equally probable strata, drawn with a ``seed``.

    Monte Carlo with an error that falls as count^-1.5 instead of count^-0.5 for smooth integrands.
    """
    strata = torch.arange(count, dtype=torch.float64) + uniform((count,), 0.0, 1.0, seed)
    return torch.special.ndtri(strata / count)


class LargestTensor(TorchDispatchMode):
    """Records the largest number of elements in any tensor made while it is active."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


def largest_tensors(basis: Basis, rows: int) -> tuple[int, int]:
    """Elements of the largest tensor made and of the largest saved, in a forward and backward pass.

    Args:
        basis: any basis in float32.
        rows: of the random inputs.
    """
    local = torch.Generator().manual_seed(0)
    x = torch.randn(rows, basis.in_features, generator=local, requires_grad=True)
    saved = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with LargestTensor() as made, saved_tensors_hooks(note, lambda tensor: tensor):
        basis(x).square().sum().backward()
    assert x.grad is not None
    return made.elements, max(saved)


class ForwardAndEdges(torch.nn.Module):
    """forward(x) and edges(x) in one call, so that functional_call can differentiate both."""

    def __init__(self, basis: Basis):
        super().__init__()
        self.basis = basis

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``forward`` and ``edges`` of x (..., n)."""
        return self.basis(x), self.basis.edges(x)


class BasisContract:
    """Derive, define ``make_basis`` and ``dense_reference``, and set the attributes that differ.

    Attributes:
        layer_options: arguments with which :class:`qkan.KANLayer` makes the same basis.
        interior: range of random inputs.
        anchors: special inputs such as knots and ends of the domain.
        anchor_tolerance: of values at the anchors and outside, where it may be harder to be exact.
        refine_size: a size to which refining preserves the function; ``None`` if the larger basis does not hold it.
        refine_approximately: then a size to which it is refined with a warning, and
        refine_change: a bound of the relative change.
        refine_refused: pattern in the message of a refusal; ``None`` where none is expected.
        per_edge: the forward pass makes a tensor (batch, m, n), so that large widths are left out.
        slope_has_moment: E[φ'²] is finite.
    """

    layer_options: ClassVar[dict[str, Any]] = {}
    interior: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    anchors: ClassVar[tuple[float, ...]] = (0.0,)
    anchor_tolerance: ClassVar[float] = 1e-12
    refine_size: ClassVar[int | None] = None
    refine_approximately: ClassVar[int | None] = None
    refine_change: ClassVar[float] = 0.2
    refine_refused: ClassVar[str | None] = None
    per_edge: ClassVar[bool] = False
    slope_has_moment: ClassVar[bool] = True

    # -- what a test class supplies --------------------------------------------------------------------------------

    def make_basis(self, in_features: int, out_features: int, **kw: Any) -> Basis:
        """The basis with ``in_features`` inputs, ``out_features`` outputs and, in ``kw``, a ``seed``."""
        raise NotImplementedError

    def dense_reference(self, basis: Basis, x: Tensor) -> Tensor:
        """Edge values (..., m, n) of x (..., n) in float64, from the parameters of ``basis`` but not by its code."""
        raise NotImplementedError

    def bfloat16_bound(self, basis: Basis, x: Tensor) -> Tensor:
        """Largest error of edge values at x (N, n) in bfloat16, (N, m, n), for a float64 ``basis`` of bfloat16 numbers.

        Feature, coefficient, product and sum are rounded, each by half a unit, and the terms may not cancel.
        """
        assert isinstance(basis, FeatureBasis)
        terms = torch.einsum("...nk,mnk->...mn", basis.features(x).abs(), basis.coefficients().abs())
        return 4 * BFLOAT16_UNIT * terms

    # -- helpers ---------------------------------------------------------------------------------------------------

    def double(self, in_features: int, out_features: int, seed: int = 0) -> Basis:
        """A float64 basis, ``in_features`` to ``out_features``, drawn with ``seed``, that uses all bits of float64."""
        basis = self.make_basis(in_features, out_features, seed=seed).double()
        with torch.no_grad():
            for place, parameter in enumerate(basis.parameters()):
                parameter.add_(uniform(tuple(parameter.shape), -1e-2, 1e-2, seed=1000 + place))
        return basis

    def inputs(self, *shape: int, seed: int = 1) -> Tensor:
        """Random inputs (*shape,) in the interior."""
        return uniform(shape, *self.interior, seed=seed)

    def special_inputs(self, in_features: int, gap: float = 0.0) -> Tensor:
        """Anchors, moved by ±gap, in different orders: (points, in_features)."""
        points = torch.tensor(self.anchors, dtype=torch.float64)
        if gap:
            points = torch.cat([points - gap, points + gap])
        return torch.stack([points.roll(column) for column in range(in_features)], dim=-1)

    def twin(self, basis: Basis) -> Basis:
        """A float64 basis with the parameters of ``basis``."""
        twin = self.make_basis(basis.in_features, basis.out_features, seed=99).double()
        twin.load_state_dict({name: value.double() for name, value in basis.state_dict().items()})
        return twin

    # -- values ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("leading", [(), (5,), (2, 3)], ids=str)
    def test_values_and_shapes_match_the_dense_reference(self, leading):
        for n, m in itertools.product(SIZES, SIZES):
            basis = self.double(n, m)
            x = self.inputs(*leading, n)
            expected = self.dense_reference(basis, x)
            scale = 1 + float(expected.abs().max())
            assert expected.shape == (*leading, m, n)
            assert_close(basis.edges(x), expected, rtol=0, atol=1e-12 * scale)
            assert_close(basis(x), expected.sum(-1), rtol=0, atol=1e-12 * scale * n)

    @pytest.mark.parametrize("batch", [0, 1])
    def test_empty_and_single_batch(self, batch):
        basis = self.double(3, 2)
        x = self.inputs(batch, 3)
        assert basis(x).shape == (batch, 2)
        assert basis.edges(x).shape == (batch, 2, 3)
        assert_close(basis(x), self.dense_reference(basis, x).sum(-1), rtol=0, atol=1e-11)

    def test_values_at_anchors(self):
        basis = self.double(2, 3)
        x = self.special_inputs(2)
        assert_close(basis.edges(x), self.dense_reference(basis, x), rtol=0, atol=self.anchor_tolerance)

    def test_values_outside_the_domain(self):
        low, high = self.interior
        basis = self.double(2, 3)
        x = uniform((64, 2), low - 1.5 * (high - low), high + 1.5 * (high - low))
        expected = self.dense_reference(basis, x)
        scale = 1 + float(expected.abs().max())
        assert_close(basis.edges(x), expected, rtol=0, atol=self.anchor_tolerance * scale)

    def test_float32(self):
        basis = self.make_basis(3, 4, seed=0)
        x = self.inputs(40, 3).float()
        expected = self.dense_reference(self.twin(basis), x.double())
        scale = 1 + float(expected.abs().max())
        for values, truth in ((basis.edges(x), expected), (basis(x), expected.sum(-1))):
            assert values.dtype == torch.float32
            assert_close(values.double(), truth, rtol=0, atol=1e-5 * scale)

    def test_bfloat16(self):
        basis = self.make_basis(3, 4, seed=0).bfloat16()
        x = self.inputs(40, 3).bfloat16()
        twin = self.twin(basis)
        expected, bound = self.dense_reference(twin, x.double()), self.bfloat16_bound(twin, x.double())
        for values, truth, limit in (
            (basis.edges(x), expected, bound),
            (basis(x), expected.sum(-1), bound.sum(-1)),
        ):
            assert values.dtype == torch.bfloat16
            assert bool(values.isfinite().all())
            assert bool(((values.double() - truth).abs() <= limit).all())

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
    def test_values_and_gradients_are_finite_far_away_and_at_anchors(self, dtype):
        basis = self.make_basis(2, 3, seed=0).to(dtype)
        far = torch.tensor([[1e4, -1e4], [-1e4, 0.5], [0.5, 1e4]])
        x = torch.cat([self.special_inputs(2), far]).to(dtype).requires_grad_()
        for route in (basis, basis.edges):
            y = route(x)
            gradients = torch.autograd.grad(y.sum(), [x, *basis.parameters()])
            assert bool(y.isfinite().all())
            assert all(bool(gradient.isfinite().all()) for gradient in gradients)

    def test_nan_shows_in_its_own_row_only(self):
        basis = self.double(3, 2)
        x = self.inputs(4, 3)
        poisoned = x.clone()
        poisoned[1, 0] = float("nan")
        assert bool(basis(poisoned)[1].isnan().all())
        edges = basis.edges(poisoned)
        assert bool(edges[1, :, 0].isnan().all())
        assert_close(edges[1, :, 1:], basis.edges(x)[1, :, 1:], rtol=0, atol=1e-14)
        others = [0, 2, 3]
        assert_close(basis(poisoned)[others], basis(x)[others], rtol=0, atol=1e-14)

    def test_rows_do_not_depend_on_each_other(self):
        basis = self.double(3, 2)
        x = self.inputs(6, 3)
        changed = self.inputs(6, 3, seed=2)
        changed[4] = x[4]
        for route in (basis, basis.edges):
            assert_close(route(changed)[4], route(x)[4], rtol=0, atol=1e-14)
            assert_close(route(x[4]), route(x)[4], rtol=0, atol=1e-13)

    def test_constant_and_duplicated_features(self):
        basis = self.double(3, 2)
        constant = torch.full((5, 3), self.interior[0] + 0.3, dtype=torch.float64)
        duplicated = self.inputs(5, 1).expand(5, 3)
        for x in (constant, duplicated):
            assert_close(basis(x), self.dense_reference(basis, x).sum(-1), rtol=0, atol=1e-11)

    # -- calls -----------------------------------------------------------------------------------------------------

    def test_forward_sums_weighted_edges(self):
        basis = self.double(3, 4)
        x, weight = self.inputs(7, 3), uniform((4, 3), -2, 2, seed=3)
        edges = basis.edges(x)
        assert_close(basis(x), edges.sum(-1), rtol=0, atol=1e-12)
        assert_close(basis(x, weight), (edges * weight).sum(-1), rtol=0, atol=1e-12)

    def test_non_contiguous_and_expanded_inputs(self):
        basis = self.double(3, 2)
        wide = self.inputs(5, 6)
        column = self.inputs(5, 1)
        for x in (wide[:, ::2], wide.T[:3].T, wide[:3, :5].T, column.expand(5, 3), self.inputs(3).expand(4, 3)):
            assert not x.is_contiguous()
            assert_close(basis(x), basis(x.contiguous()), rtol=0, atol=1e-13)
            assert_close(basis.edges(x), basis.edges(x.contiguous()), rtol=0, atol=1e-13)

    @pytest.mark.parametrize("shape", [(5, 4), (4,), (3, 1)], ids=str)
    def test_a_wrong_last_dimension_is_named(self, shape):
        basis = self.make_basis(3, 2, seed=0)
        for route in (basis, basis.edges):
            with pytest.raises(ShapeError) as caught:
                route(torch.zeros(shape))
            assert str(shape) in str(caught.value)
            assert "3 as its last dimension" in str(caught.value)

    def test_a_scalar_input_is_refused(self):
        basis = self.make_basis(3, 2, seed=0)
        with pytest.raises(ShapeError, match="last dimension"):
            basis(torch.zeros(()))

    # -- gradients -------------------------------------------------------------------------------------------------

    def test_gradcheck_inside(self):
        self._gradcheck(self.inputs(3, 2))

    def test_gradcheck_close_to_anchors(self):
        self._gradcheck(self.special_inputs(2, gap=1e-3))

    def _gradcheck(self, x: Tensor) -> None:
        module = ForwardAndEdges(self.double(2, 2))
        names, parameters = zip(*module.named_parameters(), strict=True)

        def values(x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

        # Central differences with a step of 1e-6 leave 1e-16 / 1e-6 of rounding on values of order 1.
        leaves = [x.requires_grad_(), *(p.detach().clone().requires_grad_() for p in parameters)]
        assert torch.autograd.gradcheck(values, leaves, eps=1e-6, atol=2e-6, rtol=1e-5)

    def test_compiled_values_and_gradients_equal_eager_ones(self):
        basis = self.make_basis(2, 3, seed=0)
        x = self.inputs(4, 2).float().requires_grad_()
        torch._dynamo.reset()
        compiled = torch.compile(basis, fullgraph=True, backend="aot_eager")
        leaves = [x, *basis.parameters()]
        eager, traced = basis(x), compiled(x)
        assert_close(traced, eager)
        expected = torch.autograd.grad(eager.square().sum(), leaves)
        found = torch.autograd.grad(traced.square().sum(), leaves)
        for mine, its in zip(found, expected, strict=True):
            assert_close(mine, its, rtol=1e-4, atol=1e-5)

    # -- copies and files ------------------------------------------------------------------------------------------

    def test_a_deep_copy_is_independent(self):
        basis = self.double(2, 3)
        x = self.inputs(5, 2)
        before = basis(x).detach().clone()
        twin = copy.deepcopy(basis)
        assert_close(twin(x), before, rtol=0, atol=0)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.add_(0.5)
        assert not torch.allclose(twin.edges(x), basis.edges(x))
        assert_close(basis(x), before, rtol=0, atol=0)

    def test_state_dict_round_trip(self):
        basis, other = self.double(2, 3), self.double(2, 3, seed=5)
        x = self.inputs(5, 2)
        assert not torch.equal(other(x), basis(x))
        other.load_state_dict(basis.state_dict())
        assert torch.equal(other(x), basis(x))

    def test_safetensors_round_trip(self, tmp_path):
        basis, other = self.double(2, 3), self.double(2, 3, seed=5)
        x = self.inputs(5, 2)
        save_file(basis.state_dict(), tmp_path / "basis.safetensors")
        other.load_state_dict(load_file(tmp_path / "basis.safetensors"))
        assert torch.equal(other(x), basis(x))

    def test_config_is_json_and_rebuilds_the_basis(self):
        basis = self.double(2, 3)
        config = json.loads(json.dumps(basis.config()))
        rebuilt = type(basis)(2, 3, **config, seed=7).double()
        rebuilt.load_state_dict(basis.state_dict())
        x = self.inputs(5, 2)
        assert rebuilt.config() == basis.config()
        assert torch.equal(rebuilt(x), basis(x))

    def test_the_layer_options_make_the_same_basis(self):
        layer = qkan.KANLayer(2, 3, **self.layer_options, seed=0)
        basis = self.make_basis(2, 3, seed=0)
        assert type(layer.basis) is type(basis) is qkan.bases.get(self.layer_options["basis"])
        assert layer.basis.config() == basis.config()

    def test_repr_tells_class_sizes_and_options(self):
        basis = self.make_basis(2, 3, seed=0)
        shown = repr(basis)
        assert shown.startswith(f"{type(basis).__name__}(2 -> 3")
        for name, value in basis.config().items():
            assert f"{name}={value!r}" in shown

    # -- refinement ------------------------------------------------------------------------------------------------

    def _wide_inputs(self) -> Tensor:
        low, high = self.interior
        return uniform((200, 2), low - (high - low), high + (high - low))

    def test_refining_keeps_the_function_or_is_refused(self):
        basis: Any = self.double(2, 3)
        if self.refine_refused is not None:
            with pytest.raises(RefineError, match=self.refine_refused):
                basis.refine(100)
            return
        if self.refine_size is None:
            pytest.skip("the larger basis does not hold the smaller one")
        x = self._wide_inputs()
        before = basis.edges(x).detach()
        finer = basis.refine(self.refine_size)
        assert type(finer) is type(basis)
        assert finer.num_features > basis.num_features
        assert all(p.requires_grad and p.dtype == torch.float64 for p in finer.parameters())
        assert finer.refine_residual < 1e-9
        assert_close(finer.edges(x), before, rtol=0, atol=1e-6)
        assert_close(basis.edges(x), before, rtol=0, atol=0)

    def test_refining_in_float64_keeps_float64_precision(self):
        if self.refine_size is None:
            pytest.skip("the larger basis does not hold the smaller one")
        basis = self.double(2, 3)
        x = self._wide_inputs()
        assert_close(basis.refine(self.refine_size).edges(x), basis.edges(x), rtol=0, atol=1e-10)

    def test_refining_without_nesting_warns_and_tells_the_change(self):
        if self.refine_size is not None or self.refine_refused is not None:
            pytest.skip("refining is exact or refused")
        assert self.refine_approximately is not None
        basis: Any = self.double(2, 3)
        with pytest.warns(RefineWarning):
            finer = basis.refine(self.refine_approximately)
        assert finer.num_features > basis.num_features
        assert all(p.requires_grad and p.dtype == torch.float64 for p in finer.parameters())
        x = torch.linspace(*self.interior, 2001, dtype=torch.float64).unsqueeze(-1).expand(-1, 2)
        before = basis.edges(x).detach()
        change = float((finer.edges(x).detach() - before).norm() / before.norm())
        assert change == pytest.approx(finer.refine_residual, rel=0.1, abs=1e-10)
        assert change < self.refine_change

    def test_updating_the_grid_keeps_the_function_on_the_samples(self):
        basis = self.double(2, 3)
        if not basis.adapts_grid:
            with pytest.raises(OptionError, match="has no grid to update"):
                basis.update_grid(self.inputs(50, 2))
            return
        low, high = self.interior
        x = uniform((2000, 2), low, high)
        before = basis.edges(x).detach()
        report = basis.update_grid(x)
        change = float((basis.edges(x).detach() - before).norm() / before.norm())
        assert change == pytest.approx(report.residual, rel=1e-3, abs=1e-9)
        assert change < 0.2
        assert_close(basis.edges(x), self.dense_reference(basis, x), rtol=0, atol=1e-9)

    # -- statistics ------------------------------------------------------------------------------------------------

    def test_moments_agree_with_monte_carlo(self):
        basis = self.double(3, 4)
        assert_close(basis.moments()[0], self._sampled_moments(basis)[0], rtol=0.01, atol=1e-9)

    def test_slope_moments_agree_with_monte_carlo(self):
        if not self.slope_has_moment:
            pytest.skip("E[φ'²] is infinite")
        basis = self.double(3, 4)
        assert_close(basis.moments()[1], self._sampled_moments(basis)[1], rtol=0.02, atol=1e-9)

    @staticmethod
    def _sampled_moments(basis: Basis) -> tuple[Tensor, Tensor]:
        """E[f²] and E[f'²] of features (K,), or the mean over edges (scalars) where their amplitude is not free."""
        points = stratified_normal(40_000, seed=11)
        x = points if basis.free_amplitude else points.unsqueeze(-1).repeat(1, basis.in_features)
        function: Any = basis.features if basis.free_amplitude else basis.edges
        samples = torch.func.jvp(function, (x,), (torch.ones_like(x),))
        axis = 0 if basis.free_amplitude else None
        value, slope = (sample.detach().square().mean(axis) for sample in samples)
        return value, slope

    @pytest.mark.parametrize("width", [2, 8, 64, 784])
    def test_layer_output_has_unit_standard_deviation(self, width):
        if self.per_edge and width > 64:
            pytest.skip("the per-edge route would need batch x m x n numbers")
        rows = 64 if self.per_edge else 192
        deviations = []
        for seed in range(5):
            layer = qkan.KANLayer(width, 64, **self.layer_options, init="variance", seed=seed)
            x = torch.randn(rows, width, generator=torch.Generator().manual_seed(100 + seed))
            with torch.no_grad():
                deviations.append(float(layer(x).std()))
        assert 0.85 < np.mean(deviations) < 1.15, deviations

    # -- seeds -----------------------------------------------------------------------------------------------------

    def test_seeds_decide_the_parameters(self):
        one, same, other = (self.make_basis(3, 4, seed=seed).state_dict() for seed in (3, 3, 4))
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)
        fresh = [self.make_basis(3, 4, seed=None).state_dict() for _ in range(2)]
        assert any(not torch.equal(fresh[0][name], fresh[1][name]) for name in one)

    def test_construction_leaves_global_random_state_alone(self):
        def states() -> tuple[bytes, str, str]:
            numpy_state = repr(np.random.get_state())  # noqa: NPY002
            return torch.get_rng_state().numpy().tobytes(), numpy_state, repr(random.getstate())

        before = states()
        for seed in (0, None):
            self.make_basis(3, 4, seed=seed)
            qkan.KANLayer(3, 4, **self.layer_options, seed=seed)
        assert states() == before
