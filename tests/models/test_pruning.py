"""Attribution scores against their definition, and pruning that never cuts an output off."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import qkan
from qkan import KAN, QKAN
from qkan.errors import NonFiniteError, OptionError, ShapeError

MODELS = {
    "bspline": lambda: KAN([3, 4, 2], grid=4, seed=1),
    "rbf": lambda: KAN([3, 4, 2], "rbf", base=None, bias=False, seed=1),
    "qkan": lambda: QKAN([3, 4, 2], reps=2, seed=1),
    "qkan-edge": lambda: QKAN([3, 4, 2], reps=2, encoding="edge", readout="amplitude", bias="edge", seed=1),
}


@pytest.fixture(params=MODELS)
def model(request) -> KAN:
    return MODELS[request.param]()


@pytest.fixture
def x(rng) -> torch.Tensor:
    return torch.randn(700, 3, generator=rng)  # more than one chunk


def linear(*weights: list[list[float]]) -> KAN:
    """A network whose edges are the straight lines of the given (m, n) weights."""
    width = [len(weights[0][0]), *(len(weight) for weight in weights)]
    net = KAN(width, "chebyshev", degree=1, base="identity", seed=0).double()
    with torch.no_grad():
        for layer, weight in zip(net.layers, weights, strict=True):
            layer.basis.coef.zero_()
            layer.base_weight.copy_(torch.tensor(weight))
    return net


def reaches_every_output(net: KAN) -> bool:
    alive = torch.ones(net.width[0], dtype=torch.bool)
    for layer in net.layers:
        alive = (layer.mask.bool() & alive).any(1)
    return bool(alive.all())


def test_scores_follow_their_definition(model, x):
    found = model.attribute(x)
    score = torch.full((2,), 0.5, dtype=torch.float64)
    inputs = x
    hidden = [x, model.layers[0](x)]
    for level in (1, 0):
        edges = model.layers[level].edges(hidden[level]).double()
        share = edges.std(0, correction=0) / edges.sum(-1).std(0, correction=0).unsqueeze(-1)
        torch.testing.assert_close(found.edges[level], score.unsqueeze(-1) * share, rtol=1e-4, atol=1e-6)
        score = (score.unsqueeze(-1) * share).sum(0)
        torch.testing.assert_close(found.nodes[level], score, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model.feature_score(inputs), score, rtol=1e-4, atol=1e-6)


def test_scores_look_past_an_ignored_node(x):
    net = linear([[100.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[0.0, 2.0]])
    score = net.feature_score(x)
    torch.testing.assert_close(score, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))


def test_scores_of_chosen_outputs_add_up(model, x):
    parts = [model.attribute(x, out_score=one).nodes[0] for one in ([1.0, 0.0], [0.0, 1.0])]
    torch.testing.assert_close(sum(parts) / 2, model.feature_score(x))


def test_a_node_that_is_constant_passes_no_score_on(rng):
    x = torch.randn(50, 1, generator=rng).double().expand(50, 2)
    score = linear([[1.0, -1.0], [1.0, 0.0]], [[1.0, 1.0]]).attribute(x)
    assert score.edges[0][0].tolist() == [0.0, 0.0]
    assert bool(torch.isfinite(score.nodes[0]).all())


def test_pruning_what_does_not_matter_keeps_the_function(x):
    net = linear([[1.0, 0.0, 1e-4], [1.0, 2.0, 0.0], [5.0, 5.0, 5.0]], [[1.0, 1.0, 1e-4]])
    report = net.prune(x.double())
    assert report.model.layers[0].mask.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert report.model.layers[1].mask.tolist() == [[1, 1, 0]]
    assert (report.before, report.after) == (12, 5)
    assert report.unused_nodes == ((0, 2),)
    assert report.unused_inputs == (2,)
    assert report.restored == ()
    assert 0 < report.change < 2e-3
    assert net.layers[0].mask is None
    assert "5 of 12 edges kept" in str(report)
    assert "1 hidden nodes and 1 inputs unused" in str(report)


def test_the_mean_of_removed_edges_stays(x):
    x = x.double() + 50.0
    net = linear([[1.0, 1e-3, 0.0]], [[1.0]])
    report = net.prune(x)
    assert report.after == 2
    torch.testing.assert_close(report.model(x).mean(), net(x).mean())
    assert report.change < 2e-3  # without the mean it would be 0.05


@settings(max_examples=25)
@given(st.floats(0, 0.9), st.floats(0, 0.9), st.integers(0, 5), st.sampled_from([[3, 4, 2], [2, 3, 3, 2], [4, 1]]))
def test_every_output_stays_connected(node_th, edge_th, seed, width):
    net = KAN(width, "fourier", degree=2, seed=seed)
    x = torch.randn(30, width[0], generator=torch.Generator().manual_seed(seed))
    try:
        report = net.prune(x, node_th, edge_th)
    except OptionError as error:
        assert "would remove every edge" in str(error)  # noqa: PT017
        return
    assert reaches_every_output(report.model)
    assert bool(torch.isfinite(report.model(x)).all())
    for level, source, node in report.restored:
        assert report.model.layers[level].mask[node, source] == 1
    for layer, after in zip(report.model.layers, report.model.layers[1:], strict=False):
        assert torch.equal(layer.mask.any(1), after.mask.any(0))  # no loose ends


def test_an_output_below_the_threshold_keeps_its_strongest_path(x):
    net = linear([[1.0, 0.0, 0.0], [0.0, 1.0, 0.9]], [[1.0, 0.0], [0.7, 0.7]])
    report = net.prune(x.double(), edge_th=0.95)  # no edge into output 1 reaches it
    assert reaches_every_output(report.model)
    assert report.restored
    assert report.model.layers[1].mask.tolist() == [[1, 0], [1, 0]]


def test_pruning_again_leaves_pruned_edges_pruned(model, x):
    first = model.prune(x, edge_th=0.2).model
    second = first.prune(x, edge_th=0.0)
    for one, two in zip(first.layers, second.model.layers, strict=True):
        assert torch.equal(one.mask, two.mask)
    assert second.change == pytest.approx(0, abs=1e-5)


def test_pruned_networks_train_and_are_saved(model, x, tmp_path):
    pruned = model.prune(x, edge_th=0.3).model
    y = torch.stack([x[:, 0], x[:, 1] * x[:, 2]], 1)
    pruned.fit((x, y), opt="LBFGS", steps=2, progress=False)
    assert all(bool(torch.isfinite(p).all()) for p in pruned.parameters())
    pruned.save(tmp_path / "m")
    assert torch.equal(qkan.load(tmp_path / "m")(x), pruned(x))


def test_without_data_the_rows_of_the_last_fit_count(model, x):
    with pytest.raises(OptionError, match="prune needs data"):
        model.prune()
    with pytest.raises(OptionError, match="attribute needs data"):
        model.feature_score()
    model.fit((x[:400], x[:400, :2]), steps=1, progress=False)
    torch.testing.assert_close(model.feature_score(), model.feature_score(x[:400].numpy()))
    assert model.prune().after > 0


def test_bad_input_is_one_sentence(model, x):
    with pytest.raises(OptionError, match=r"edge_th=1000.0 and node_th=0.01 would remove every edge \(the largest"):
        model.prune(x, edge_th=1e3)
    with pytest.raises(OptionError, match=r"edge_th=100.0 and node_th=1000.0 would remove every edge"):
        model.prune(x, node_th=1e3, edge_th=1e2)
    emptied = copy.deepcopy(model)
    emptied.layers[0].set_mask(torch.zeros_like(emptied.layers[0].active(), dtype=torch.float32))
    with pytest.raises(OptionError, match=r"would remove every edge|already cut off from every input"):
        emptied.prune(x)
    with pytest.raises(OptionError, match="node_th=-1 must be zero or a positive number"):
        model.prune(x, node_th=-1)
    with pytest.raises(OptionError, match="edge_th=nan must be"):
        model.prune(x, edge_th=float("nan"))
    with pytest.raises(ShapeError, match=r"x of shape \(1, 3\) must be \(rows, 3\) with at least 2 rows"):
        model.prune(x[:1])
    with pytest.raises(ShapeError, match=r"out_score of shape \(3,\) must be \(2,\)"):
        model.attribute(x, out_score=[1, 1, 1])
    with pytest.raises(NonFiniteError, match="layer 0 has edges that are NaN"):
        model.attribute(torch.full((3, 3), torch.nan))
    model.layers[1].set_mask(torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]]))
    with pytest.raises(OptionError, match="output 1 is already cut off"):
        model.prune(x)


def test_pruned_edges_are_not_drawn(model, x):
    report = model.prune(x, edge_th=0.4)
    assert report.after < report.before
    assert len(report.model.plot(x).axes) == 1 + report.after
