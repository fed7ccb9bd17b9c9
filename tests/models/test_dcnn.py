"""KACQ-DCNN: counts of the publication, options that change what they say, controls, deployment."""

from __future__ import annotations

import copy

import pytest
import torch

import qkan
from qkan.circuits import Circuit, ParallelCircuits, QuantumLayer, deploy, strongly_entangling
from qkan.errors import ModelFileError, OptionError, ShapeError
from qkan.layers import KANLayer
from qkan.models import KACQDCNN
from qkan.models.dcnn import class_probabilities, cross_entropy
from qkan.models.dcnn_parts import MatchedMLP, NonZero, Pooled


def size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def rows(count: int, features: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed))


# -- the publication's sizes -------------------------------------------------------------------------------------------


def test_the_published_network_has_the_published_number_of_parameters():
    model = KACQDCNN(12, preset="published", seed=0)
    assert size(model) == 3_023_221
    assert model.quantum_parameters() == 36
    assert (size(model.classical), size(model.quantum), size(model.head)) == (1_255_520, 1_767_636, 65)
    by_layer = [size(module) for module in model.classical if size(module)]
    assert by_layer == [33_792, 98_816, 491_840, 573_696, 57_376]
    assert [size(module) for module in model.quantum if size(module)] == [896, 1_655_984, 76_080, 36, 9_520, 25_120]
    assert model(rows(3, 12)).shape == (3, 1)


def test_the_published_ablation_without_recurrent_layers_changes_both_channels():
    model = KACQDCNN(12, preset="published", classical={"recurrent": None}, quantum={"sequence": False}, seed=0)
    assert size(model) == 893_733
    one = KACQDCNN(12, preset="published", classical={"recurrent": None}, seed=0)  # what its name says, and no more
    assert size(one.quantum) == 1_767_636


def test_published_initial_values():
    model = KACQDCNN(12, preset="published", seed=0)
    wide = model.quantum[4]
    assert isinstance(wide, KANLayer)
    assert abs(wide.basis.coef.std().item() - 0.1) < 1e-3
    assert abs(wide.scale.abs().max().item() - (6 / (1344 + 176)) ** 0.5) < 1e-3
    assert not model.head.bias.any()


def test_four_layers_have_four_times_the_quantum_parameters():
    for layers in (1, 2, 3, 4):
        assert KACQDCNN(12, quantum_layers=layers, seed=0).quantum_parameters() == 36 * layers


# -- shapes, gradients, seeds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("embedding", ["amplitude", "angle", "reupload"])
@pytest.mark.parametrize(("features", "classes"), [(1, 2), (12, 2), (7, 3), (30, 5)])
def test_shapes_and_finite_gradients(features, classes, embedding):
    model = KACQDCNN(features, classes, embedding=embedding, quantum_layers=2, seed=0)
    x = rows(6, features).requires_grad_()
    out = model(x)
    assert out.shape == (6, 1 if classes == 2 else classes)
    cross_entropy(out, torch.arange(6) % classes).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.any() or "classical" in name, name
    assert torch.isfinite(x.grad).all()
    model.eval()
    assert torch.equal(model(x[0]), model(x[:1])[0]) or torch.allclose(model(x[0]), model(x[:1])[0], atol=1e-6)
    torch.testing.assert_close(model(x.view(2, 3, features)), model(x).view(2, 3, -1))
    assert model(x[:0]).shape == (0, out.shape[1])


@pytest.mark.parametrize("basis", ["daruan", "fourier", "chebyshev", "rbf", {"basis": "bspline", "grid": 7}], ids=str)
@pytest.mark.parametrize("preset", ["compact", "published"])
def test_any_basis_in_either_channel(basis, preset):
    small = {"classical": {"units": 4, "dense": 8}, "quantum": {"first": 3, "before": [5]}}
    small = {name: {**more, "edges": basis} for name, more in small.items()}
    name = basis if isinstance(basis, str) else basis["basis"]
    for channel in ("classical", "quantum"):
        model = KACQDCNN(6, preset=preset, **{**small, channel: small[channel]}, seed=0)
        found = {m.basis.name for m in getattr(model, channel).modules() if isinstance(m, KANLayer)}
        assert found == {name}
        assert torch.isfinite(model(rows(3, 6))).all()
    both = KACQDCNN(6, basis=basis, seed=0)
    assert {m.basis.name for m in both.modules() if isinstance(m, KANLayer)} == {name}


def test_seeds_are_local_and_dropout_is_reproducible():
    state = torch.get_rng_state()
    one, two, other = (KACQDCNN(5, seed=seed) for seed in (3, 3, 4))
    x = rows(20, 5)
    first = [one(x) for _ in range(2)]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first[0], two(x))
    assert not torch.equal(first[0], first[1])  # dropout goes on
    twin = copy.deepcopy(one)
    assert torch.equal(one(x), twin(x))
    assert not torch.equal(one.eval()(x), other.eval()(x))
    assert torch.equal(one(x), one(x))
    assert torch.equal(state, torch.get_rng_state())


def test_training_is_deterministic_and_lowers_the_loss():
    x = rows(60, 5)
    y = (x[:, 0] * x[:, 1] > 0).long()
    models = [KACQDCNN(5, seed=0, dropout=0.0) for _ in range(2)]
    found = [m.fit((x, y), steps=60, loss_fn=m.loss, batch=30, seed=0, progress=False) for m in models]
    assert found[0]["train_loss"] == found[1]["train_loss"]
    assert found[0]["train_loss"][-1] < 0.7 * found[0]["train_loss"][0]


def test_loss_and_probabilities():
    two, three = rows(4, 1), rows(4, 3)
    labels = torch.tensor([0, 1, 1, 0])
    logits = torch.cat([torch.zeros(4, 1), two], -1)
    torch.testing.assert_close(cross_entropy(two, labels), torch.nn.functional.cross_entropy(logits, labels))
    torch.testing.assert_close(class_probabilities(two), torch.softmax(logits, -1))
    assert class_probabilities(three).sum(-1).allclose(torch.ones(4))
    model = KACQDCNN(5, seed=0)
    found = model.probabilities(rows(4, 5).numpy())
    assert found.shape == (4, 2)
    assert abs(found.sum(1) - 1).max() < 1e-6


# -- ablations ---------------------------------------------------------------------------------------------------------


def kept(model: KACQDCNN, channel: str) -> dict[str, torch.Size]:
    part = getattr(model, channel)
    return {name: p.shape for name, p in part.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"quantum": False}, "quantum"),
        ({"classical": False}, "classical"),
        ({"core": "none"}, "quantum"),
        ({"embedding": "angle"}, "quantum"),
        ({"classical": {"recurrent": "lstm"}}, "classical"),
        ({"classical": {"units": (8,)}}, "classical"),
        ({"classical": {"recurrent": None}}, "classical"),
        ({"classical": {"layer": "mlp"}}, "classical"),
        ({"quantum": {"layer": "mlp"}}, "quantum"),
        ({"quantum": {"sequence": False}}, "quantum"),
    ],
    ids=str,
)
def test_an_ablation_changes_what_it_says_only(options, changed):
    base = {"preset": "published", "classical": {"units": (8, 8), "dense": 16, "widths": (8, 4)}}
    base["quantum"] = {"first": 4, "before": (6,), "after": (8, 4)}
    ablated = dict(base)
    for name, value in options.items():
        ablated[name] = {**base[name], **value} if isinstance(value, dict) else value
    whole, less = KACQDCNN(6, **base, seed=0), KACQDCNN(6, **ablated, seed=0)
    other = {"quantum": "classical", "classical": "quantum"}[changed]
    assert kept(whole, other) == kept(less, other)
    x = rows(4, 6)
    torch.testing.assert_close(getattr(whole.eval(), other)(x), getattr(less.eval(), other)(x))
    if getattr(less, changed) is not None:
        assert kept(whole, changed) != kept(less, changed)
    assert torch.isfinite(less(x)).all()
    assert less.dropout == whole.dropout


def test_without_dropout():
    model = KACQDCNN(6, dropout=0.0, seed=0)
    assert not any("Dropout" in type(module).__name__ for module in model.modules())
    with_it = KACQDCNN(6, seed=0).eval()
    assert size(model) == size(with_it)


# -- controls ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_controls_have_the_number_of_parameters_they_promise(layers):
    options = {"preset": "published", "quantum_layers": layers, "seed": 0}
    counts = {core: size(KACQDCNN(12, core=core, **options)) for core in ("circuit", "random", "mlp", "identity")}
    assert counts["mlp"] == counts["circuit"]
    assert counts["random"] == counts["identity"] == counts["circuit"] - 36 * layers
    frozen = KACQDCNN(12, core="random", **options)
    circuit = KACQDCNN(12, core="circuit", **options)
    assert frozen.quantum_parameters() == 0
    x = rows(3, 12)
    assert torch.equal(frozen.eval()(x), circuit.eval()(x))  # the same circuits, which are not trained


@pytest.mark.parametrize(("wires", "circuits", "layers"), [(2, 1, 1), (3, 2, 1), (5, 3, 2)])
def test_the_matched_perceptron_is_never_smaller_and_hardly_larger(wires, circuits, layers):
    wanted = 3 * wires * layers * circuits
    found = size(MatchedMLP(circuits, 2**wires, wires, wanted, seed=0))
    assert wanted <= found <= wanted + 2 * wires


def test_the_identity_is_one_where_widths_allow():
    x = rows(3, 12)
    assert torch.equal(Pooled(3, 4, 4)(x), x)
    found = Pooled(2, 8, 3)(torch.arange(16.0))
    torch.testing.assert_close(found, torch.tensor([1, 4, 13 / 3, 9, 12, 29 / 3]))


# -- circuits ----------------------------------------------------------------------------------------------------------


def test_the_block_equals_three_separate_layers():
    model = KACQDCNN(12, preset="published", seed=0).double()
    (block,) = (module for module in model.modules() if isinstance(module, ParallelCircuits))
    circuit = Circuit(4).amplitude_embedding().then(strongly_entangling(4, 1))
    apart = [QuantumLayer(circuit, seed=0, dtype=torch.float64) for _ in range(3)]
    for layer, theta in zip(apart, block.theta.detach(), strict=True):
        layer.theta.data.copy_(theta)
    x = rows(5, 48).double()
    wanted = torch.cat([layer(part) for layer, part in zip(apart, x.split(16, -1), strict=True)], -1)
    torch.testing.assert_close(block(x), wanted, rtol=0, atol=1e-12)


def test_amplitudes_that_are_all_zero_are_replaced():
    guard = NonZero(4)
    x = torch.tensor([[0.0, 0, 0, 0, 1e-9, 0, 0, 0, 0, 2, 0, 0]], requires_grad=True)
    found = guard(x)
    assert found.tolist() == [[1, 1, 1, 1, 1, 1, 1, 1, 0, 2, 0, 0]]
    found.sum().backward()
    assert x.grad.tolist() == [[0] * 8 + [1] * 4]
    model = KACQDCNN(6, seed=0)
    with torch.no_grad():
        before = [module for module in model.quantum if isinstance(module, KANLayer)][-2]
        for parameter in before.parameters():
            parameter.zero_()
    out = model(rows(3, 6))
    cross_entropy(out, torch.tensor([0, 1, 0])).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("embedding", ["angle", "reupload"])
def test_other_backends_train(embedding):
    options = {"embedding": embedding, "seed": 0, "dropout": 0.0, "circuits": 2, "wires": 2}
    models = [KACQDCNN(4, backend=backend, **options) for backend in ("torch", "pennylane:default.qubit")]
    losses = [cross_entropy(model(rows(3, 4)), torch.tensor([0, 1, 0])) for model in models]
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-5)
    for loss in losses:
        loss.backward()
    for (name, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize("basis", ["bspline", {"basis": "daruan", "reps": 1}], ids=str)
def test_deployment(basis):
    model = KACQDCNN(5, basis=basis, seed=0, quantum={"before": (), "first": 2}).double().eval()
    x = rows(3, 5).double()
    run = deploy(model, "torch", rows=x, progress=False)
    torch.testing.assert_close(run.model(x), model(x), rtol=0, atol=1e-9)
    routes = {block.route for block in run.plan().blocks}
    assert routes == ({"rows"} if basis == "bspline" else {"rows", "nodes"})
    with pytest.raises(ModelFileError, match="a KACQDCNN with these measured circuits cannot be saved"):
        run.model.network.save("never-written")


# -- saving ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preset": "published", "classical": {"units": 4, "dense": 8}, "quantum": {"before": 5}},
        {"classical": False, "core": "mlp", "quantum_layers": 2},
        {"quantum": False, "n_classes": 3},
        {"basis": {"basis": "daruan", "reps": 1}, "embedding": "reupload", "core": "random", "dropout": 0.1},
        {"basis": "fourier", "preset": "published", "quantum": {"edges": "rbf", "narrow": {"grid": 4}, "before": 5}},
    ],
    ids=str,
)
def test_saving(options, tmp_path):
    model = KACQDCNN(6, **options, seed=0)
    model.save(tmp_path / "model")
    again = qkan.load(tmp_path / "model")
    x = rows(4, 6)
    assert torch.equal(again.eval()(x), model.eval()(x))
    assert again.config() == model.config()
    grads = [[p.requires_grad for p in m.parameters()] for m in (model, again)]
    assert grads[0] == grads[1]


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_classes": 1}, "n_classes=1 must be a whole number of at least 2"),
        ({"preset": "small"}, "preset='small' is not known; choose one of 'published', 'compact'"),
        ({"core": "none at all"}, "core='none at all' is not known"),
        ({"embedding": "basis"}, "embedding='basis' is not known"),
        ({"wires": 0}, "wires=0"),
        ({"quantum_layers": 0}, "quantum_layers=0"),
        ({"circuits": 0}, "circuits=0"),
        ({"classical": False, "quantum": False}, "keep one of the channels"),
        ({"classical": "no"}, "classical='no' must be True, False or a dict"),
        ({"classical": {"unit": 3}}, "the classical channel has no option 'unit'; its options are recurrent, units"),
        ({"classical": {"recurrent": "gru"}}, "recurrent='gru' is not known"),
        ({"classical": {"widths": ()}}, "must hold one width or more"),
        ({"classical": {"layer": "cnn"}}, "layer='cnn' is not known"),
        ({"classical": {"cell": "gelu"}}, "activation='gelu' is not known"),
        ({"quantum": {"first": 0}}, "width=0"),
        ({"quantum": {"sequence": "yes"}}, "sequence='yes' is not known"),
        ({"basis": "splines"}, "basis='splines' is not known"),
        ({"basis": 3}, "basis=3 must be the name of a basis or a dict"),
        ({"basis": {"basis": "daruan", "grid": 3}}, "has no option 'grid'"),
        ({"dropout": 1.0}, "dropout=1.0 must be a number from 0"),
        ({"backend": "abacus"}, "abacus"),
    ],
    ids=str,
)
def test_mistakes(options, message):
    with pytest.raises(OptionError, match=message):
        KACQDCNN(6, **options)


def test_wrong_width():
    with pytest.raises(ShapeError, match="must have 6 as its last dimension"):
        KACQDCNN(6, seed=0)(rows(2, 5))
