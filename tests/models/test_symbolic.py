"""Known functions are found again, and a formula says what the network computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy
import torch

import qkan
from qkan import KAN, QKAN
from qkan.errors import OptionError, ShapeError
from qkan.layers.functions import LIBRARY, plainest
from qkan.models.symbolic_fit import fit_edge

X = torch.linspace(0.5, 2.5, 301, dtype=torch.float64)

#: One function of each kind on X, none with the parameters of a start of the search.
TARGETS = {
    "x": 2 * X + 1,
    "x^2": 3 * (X - 1) ** 2 - 1,
    "x^3": (X - 1.3) ** 3,
    "x^4": (X - 1) ** 4,
    "1/x": 2 / (X + 0.1),
    "1/x^2": -1 / (X - 4) ** 2,
    "sqrt": torch.sqrt(2.6 - X),
    "1/sqrt": 1 / torch.sqrt(X + 0.2),
    "exp": 0.1 * torch.exp(2 * X),
    "log": torch.log(X),
    "abs": (X - 1.31).abs(),
    "sin": 2 * torch.sin(7.3 * X + 0.4),
    "tan": torch.tan(1.2 * (X - 1.5)),
    "tanh": torch.tanh(4 * (X - 1.3)),
    "arctan": torch.arctan(6 * (X - 1)),
    "arcsin": torch.arcsin((X - 1.5) / 1.01),
    "gaussian": torch.exp(-((2.3 * (X - 1.2)) ** 2)),
}


def values(formula: list, x: torch.Tensor) -> torch.Tensor:
    """A formula evaluated by SymPy and NumPy on the rows x."""
    symbols = sympy.symbols([f"x_{i + 1}" for i in range(x.shape[1])], real=True)
    columns = [np.broadcast_to(sympy.lambdify(symbols, one, "numpy")(*x.T.numpy()), len(x)) for one in formula]
    return torch.as_tensor(np.stack(columns, 1))


def splines(width: list[int], *functions: list[list], grid: int = 40) -> KAN:
    """A network whose cubic splines on [-2, 2] are fitted to the given functions, per layer (m, n)."""
    net = KAN(width, grid=grid, base=None, grid_range=(-2, 2), seed=0).double()
    x = torch.linspace(-2, 2, 400, dtype=torch.float64).unsqueeze(-1)
    with torch.no_grad():
        for layer, rows in zip(net.layers, functions, strict=True):
            features = layer.basis.features(x.expand(-1, layer.in_features))[:, 0]
            for o, row in enumerate(rows):
                for i, function in enumerate(row):
                    layer.basis.coef[o, i] = torch.linalg.lstsq(features, function(x)).solution[:, 0]
    return net


def test_every_function_has_a_target():
    assert set(TARGETS) == set(LIBRARY)


@pytest.mark.parametrize("name", TARGETS)
def test_each_function_is_recovered(name):
    (own,) = fit_edge(X, TARGETS[name], [LIBRARY[name]])
    assert own.r2 > 0.999999
    a, b, c, d = own.affine
    argument = a * X + b
    assert bool(LIBRARY[name].allows(argument))
    error = (c * LIBRARY[name](argument) + d - TARGETS[name]).abs().max()
    assert float(error) < 2e-3 * float(TARGETS[name].std())


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("affine", [(2.5, 0.7, -1.3, 0.2), (-1.7, 4.6, 0.4, -2.0)])
def test_the_plainest_form_is_the_same_function(name, affine):
    a, b, c, d = affine
    z = sympy.Symbol("z", real=True)
    p, q, r, s = plainest(LIBRARY[name], affine)
    x = torch.linspace(0.1, 1.0, 7).double() if name not in ("tan", "arcsin") else torch.linspace(-0.1, 0.1, 7).double()
    before = c * LIBRARY[name].symbolic(a * z + b) + d
    after = r * LIBRARY[name].symbolic(p * z + q) + s
    for point in x.tolist():
        assert complex(after.subs(z, point)) == pytest.approx(complex(before.subs(z, point)), abs=1e-9)


def test_arguments_outside_the_domain_stay_finite_with_finite_gradients():
    for function in LIBRARY.values():
        z = torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4], requires_grad=True)
        function(z).sum().backward()
        assert bool(torch.isfinite(function(z)).all()), function.name
        assert bool(torch.isfinite(z.grad).all()), function.name


@pytest.mark.parametrize(
    "build",
    [
        lambda: KAN([2, 3, 1], grid=4, seed=1),
        lambda: KAN([2, 3, 1], "rbf", base=None, bias=False, seed=1),
        lambda: QKAN([2, 3, 1], reps=2, seed=1),
        lambda: QKAN([2, 3, 1], reps=2, encoding="edge", bias="edge", seed=1),
    ],
)
def test_symbolic_edges_in_any_basis(build, rng, tmp_path):
    model = build()
    x = torch.randn(60, 2, generator=rng)
    before, edges = model(x), model.layers[0].edges(x)
    r2 = model.fix_symbolic(0, 1, 2, "sin", x)
    table = model.suggest_symbolic(0, 1, 2, x)
    assert 0 <= r2 <= 1
    assert list(table.columns) == ["function", "r2", "complexity", "score", "a", "b", "c", "d"]
    assert table["score"].is_monotonic_increasing
    assert table.set_index("function").loc["sin", "r2"] == pytest.approx(1, abs=1e-6)  # it is a sine now
    after = model.layers[0].edges(x)
    changed = (after - edges).abs().amax(0) > 1e-6
    assert changed.nonzero().tolist() in ([[2, 1]], [])
    torch.testing.assert_close(after.sum(-1) + _bias(model.layers[0]), model.layers[0](x), rtol=1e-5, atol=1e-5)
    model.save(tmp_path / "m")
    assert torch.equal(qkan.load(tmp_path / "m")(x), model(x))
    torch.testing.assert_close(model.compile_inference()(x), model(x), rtol=1e-5, atol=1e-5)
    model.fit((x, x[:, :1]), opt="LBFGS", steps=1, progress=False)
    model.unfix_symbolic(0, 1, 2)
    assert model.layers[0].symbolic is None
    fresh = build()
    fresh.fix_symbolic(0, 1, 2, "sin", x)
    fresh.unfix_symbolic(0, 1, 2)
    torch.testing.assert_close(fresh(x), before)


def _bias(layer) -> torch.Tensor | float:
    bias = layer.output_bias()
    return 0.0 if bias is None else bias


def test_pruning_takes_symbolic_edges_too(rng):
    model = KAN([2, 2, 1], grid=4, seed=1)
    x = torch.randn(60, 2, generator=rng)
    for source in (0, 1):
        model.fix_symbolic(0, source, 0, "x^2", x)
    with torch.no_grad():
        model.layers[0].symbolic.affine[1, 2] = 0.0  # a constant edge
    pruned = model.prune(x, node_th=0).model
    assert pruned.layers[0].symbolic.entries == [(0, 0, "x^2")]
    assert not bool(pruned.layers[0].active()[0, 1])
    assert len(model.layers[0].symbolic.entries) == 2


def test_a_layer_with_symbolic_edges_is_no_matrix_product(rng):
    model = KAN([2, 1], seed=1)
    model.fix_symbolic(0, 0, 0, "x", torch.randn(30, 2, generator=rng))
    with pytest.raises(OptionError, match="symbolic edges is not features times coefficients"):
        model.layers[0].coefficients()


def test_a_sine_and_a_square_inside_an_exponential(rng):
    net = splines(
        [2, 1, 1],
        [[lambda x: torch.sin(math.pi * x), lambda x: x**2]],
        [[lambda x: torch.exp(x)]],
    )
    x = torch.rand(400, 2, generator=rng, dtype=torch.float64) * 2 - 1
    y = torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:] ** 2)
    report = net.auto_symbolic(x, y, steps=5)
    assert report.complete
    found = report.edges.set_index(["layer", "input", "output"])
    assert found["function"].to_dict() == {(0, 0, 0): "sin", (0, 1, 0): "x^2", (1, 0, 0): "exp"}
    assert bool((found["r2"] > 0.999).all())
    assert report.loss_after < 1e-8 * float(y.var())
    torch.testing.assert_close(values(report.model.symbolic_formula(digits=None), x), report.model(x).detach())
    text = str(report.model.symbolic_formula(["a", "b"])[0])
    assert "sin(3.142*a)" in text
    assert "b**2" in text
    assert "3 of 3 edges replaced" in str(report)
    assert net.layers[0].symbolic is None


def test_a_trained_network_gives_the_formula_behind_its_data():
    data = qkan.create_dataset(
        lambda x: torch.exp(torch.sin(math.pi * x[:, [0]]) + x[:, [1]] ** 2), train_num=500, test_num=200, seed=0
    )
    net = KAN([2, 1, 1], grid=10, grid_range=(-1, 2), seed=1)
    net.fit(data, opt="LBFGS", steps=20, progress=False)
    report = net.auto_symbolic(data["train_input"], data["train_label"], steps=5)
    found = report.edges.set_index(["layer", "input", "output"])["function"].to_dict()
    assert found == {(0, 0, 0): "sin", (0, 1, 0): "x^2", (1, 0, 0): "exp"}
    label = data["test_label"]
    assert float((report.model.predict(data["test_input"]) - label).pow(2).mean()) < 1e-5 * float(label.var())
    assert report.loss_after < report.loss_before


def test_a_product_through_logarithms(rng):
    net = splines(
        [2, 1, 1],
        [[lambda x: torch.log(x + 2.5), lambda x: torch.log(x + 2.5)]],
        [[lambda x: torch.exp(x)]],
    )
    x = torch.rand(300, 2, generator=rng, dtype=torch.float64) * 1.5 - 1.9
    y = (x[:, :1] + 2.5) * (x[:, 1:] + 2.5)
    report = net.auto_symbolic(x, y, functions=["x", "x^2", "1/x", "sqrt", "exp", "log", "sin"], steps=5)
    assert set(report.edges["function"]) == {"log", "exp"}
    assert report.loss_after < 1e-6 * float(y.var())
    torch.testing.assert_close(values(report.model.symbolic_formula(digits=None), x), report.model(x).detach())


def test_a_circuit_is_written_as_a_formula(rng):
    net = QKAN([1, 1], reps=1, base=None, seed=3)  # one re-upload at frequency 1 is a sine
    x = torch.randn(100, 1, generator=rng)
    report = net.auto_symbolic(x, steps=2)
    assert report.edges["function"].tolist() == ["sin"]
    assert report.edges["r2"][0] > 0.9999
    assert next(report.model.parameters()).dtype == torch.float32
    formula = values(report.model.symbolic_formula(digits=None), x)
    torch.testing.assert_close(formula.float(), net(x).detach(), rtol=1e-3, atol=1e-3)


def test_edges_that_no_function_fits_keep_their_basis(rng):
    net = splines([1, 1], [[lambda x: torch.sin(3 * x) + 0.7 * torch.cos(7 * x)]])
    x = torch.rand(200, 1, generator=rng, dtype=torch.float64) * 4 - 2
    report = net.auto_symbolic(x, functions=["x", "x^2", "exp"], steps=1)
    assert not report.complete
    assert report.edges["function"].isna().all()
    assert report.edges["r2"][0] < 0.95
    assert torch.equal(report.model(x), net(x))
    with pytest.raises(OptionError, match="edge from input 0 to output 0 of layer 0 is not symbolic"):
        report.model.symbolic_formula()


def test_constant_edges_become_constants(rng):
    net = splines([2, 1], [[lambda x: 0 * x + 0.7, lambda x: x**2]])
    x = torch.rand(100, 2, generator=rng, dtype=torch.float64)
    with pytest.raises(OptionError, match=r"the edge is constant on these rows \(0.7"):
        net.suggest_symbolic(0, 0, 0, x)
    with pytest.raises(OptionError, match=r"the edge is constant on these rows \(0.7"):
        net.fix_symbolic(0, 0, 0, "sin", x)
    assert net.layers[0].symbolic is None  # nothing was changed
    one_value = torch.cat([torch.ones(100, 1), x[:, 1:]], 1)
    with pytest.raises(OptionError, match="the edge is constant on these rows"):
        net.suggest_symbolic(0, 0, 0, one_value)
    report = net.auto_symbolic(x, steps=2)
    assert report.edges["function"].tolist() == ["x^2", "constant"]
    formula = report.model.symbolic_formula(digits=None)
    assert formula[0].free_symbols == {sympy.Symbol("x_2", real=True)}
    torch.testing.assert_close(values(formula, x), net(x).detach(), rtol=1e-5, atol=1e-5)


def test_bad_input_is_one_sentence(rng):
    net, x = KAN([2, 1], seed=0), torch.randn(20, 2, generator=rng)
    with pytest.raises(OptionError, match="auto_symbolic needs data"):
        net.auto_symbolic()
    with pytest.raises(OptionError, match=r"function='cosh' is not in the library; choose from x, x\^2"):
        net.fix_symbolic(0, 0, 0, "cosh", x)
    with pytest.raises(OptionError, match="layer=1 must be a whole number from 0 to 0"):
        net.suggest_symbolic(1, 0, 0, x)
    with pytest.raises(OptionError, match="source=-1 must be"):
        net.suggest_symbolic(0, -1, 0, x)
    with pytest.raises(OptionError, match="weight_simple=2 must lie between 0 and 1"):
        net.suggest_symbolic(0, 0, 0, x, weight_simple=2)
    with pytest.raises(OptionError, match="r2_threshold=1"):
        net.auto_symbolic(x, r2_threshold=1.5)
    with pytest.raises(ShapeError, match="20 rows of x but 3 labels"):
        net.auto_symbolic(x, x[:3, :1])
    with pytest.raises(OptionError, match="is not symbolic"):
        net.unfix_symbolic(0, 0, 0)
    with pytest.raises(OptionError, match="symbolic lists 2 layers"):
        KAN([2, 1], symbolic=[[], []])
    with pytest.raises(OptionError, match="must be different"):
        KAN([2, 1], symbolic=[[(0, 0, "x"), (0, 0, "exp")]])
    net.auto_symbolic(x, functions=["x"], r2_threshold=0, steps=1)
    with pytest.raises(OptionError, match="variables has 1 names, but the network has 2 inputs"):
        net.symbolic_formula(["a"])
