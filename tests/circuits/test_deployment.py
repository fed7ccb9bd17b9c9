"""Deployment of whole models: cost, values, uncertainty and reports."""

import contextlib
import math

import numpy as np
import pytest
import torch

import qkan
from qkan.circuits import (
    Circuit,
    PauliSum,
    QuantumLayer,
    Z,
    backends,
    deploy,
    deployment,
    measurement,
    strongly_entangling,
)
from qkan.errors import DataError, DomainError, ModelFileError, NonFiniteError, OptionError
from qkan.models.forecaster import Forecaster

OPTIONS = [
    {},
    {"ansatz": "rpz", "frequencies": "ternary", "reps": 2},
    {"ansatz": "px", "reps": 2},
    {"encoding": "shared", "ansatz": "mix", "reps": 2},
    {"encoding": "edge", "reps": 2},
    {"readout": "amplitude", "reps": 2},
    {"groups": 2, "reps": 2},
    {"groups": 2, "encoding": "edge", "readout": "amplitude", "reps": 2},
]


def inputs(*shape, seed=0):
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 1


def exact(model, **options):
    return deploy(model, "torch", progress=False, **options)


# -- cost ------------------------------------------------------------------------------------------------------------


def test_a_network_costs_its_nodes_once():
    run = exact(qkan.QKAN([30, 4, 2], reps=3, seed=0), shots=4096, rows=inputs(114, 30), dry_run=True)
    plan = run.plan()
    assert (plan.circuits, plan.row_by_row) == (896, 14592)
    assert [(block.route, block.circuits) for block in plan.blocks] == [("nodes", 840), ("nodes", 56)]
    assert (plan.executions, plan.total_shots, plan.jobs) == (896, 896 * 4096, 4)
    text = str(plan)
    assert "896 circuits in 896 executions, 3,670,016 shots, about 4 jobs" in text
    assert "row by row, 114 rows would take 14,592 circuits" in text
    assert "rows would take 13,680" in text


@pytest.mark.parametrize(("rows", "route"), [(242, "rows"), (243, "nodes"), (500, "nodes"), (None, "nodes")])
def test_the_cheaper_route_is_taken(rows, route):
    """Edge encodings with five repetitions have 3^5 nodes."""
    model = qkan.QKAN([2, 1], reps=5, encoding="edge", seed=0)
    run = exact(model, rows=None if rows is None else inputs(rows, 2), dry_run=True)
    (block,) = run.plan().blocks
    assert block.route == route
    assert block.circuits == 2 * min(rows or 243, 243)


def test_packing_and_mitigation_are_in_the_plan():
    model = qkan.QKAN([3, 2], reps=2, seed=0)  # 30 circuits
    run = exact(model, shots=100, pack=7, batch_size=2, readout_mitigation=True, fold_factors=(1, 3), dry_run=True)
    (block,) = run.plan().blocks
    assert (block.copies, block.executions, block.batches) == (7, 2 * 5 + 2, 2 * 3 + 2)
    assert block.shots == 100 * 10 + 400 * 2


def test_what_is_sent_is_what_was_planned(monkeypatch):
    """Entangled observables in several settings beside nodes, corrected and folded: circuits, jobs and progress."""

    class Counting(backends.Backend):
        name, jobs, circuits = "counting", 0, 0
        capabilities = backends.Capabilities(exact=True, shots=True, wires=20)

        def execute(self, task):
            Counting.jobs += 1
            Counting.circuits += len(task.rows) * len(measurement.groups(task.circuit.observables))
            return backends.get("torch").execute(task)

    totals, advanced = [], []

    @contextlib.contextmanager
    def bar(show, label, total, stderr):
        totals.append(total)
        yield lambda circuits, key: advanced.append(circuits)

    monkeypatch.setattr(deployment, "progress_bar", bar)
    strings = {"ZY": 0.7, "YI": -0.1}, {"ZZ": -0.9, "YX": 0.8, "ZI": -0.8}, {"XX": -0.8}
    circuit = Circuit(2).angle_embedding().cnot(0, 1).measure(*(PauliSum.from_strings(one) for one in strings))
    model = torch.nn.Sequential(QuantumLayer(circuit, seed=0), qkan.KANLayer(3, 2, reps=1, seed=0))
    options = {"shots": 100, "readout_mitigation": True, "fold_factors": (1, 3), "pack": 2, "batch_size": 4, "seed": 0}
    run = deploy(model, Counting(), rows=inputs(9, 2), **options)
    assert {block.route for block in run.plan().blocks} == {"nodes", "rows"}
    assert (Counting.circuits, Counting.jobs) == (run.plan().executions, run.plan().jobs)
    assert totals == [sum(advanced)]


# -- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("by_rows", [False, True])
def test_exact_values_give_the_trained_model(options, by_rows):
    model = qkan.QKAN([3, 2, 1], seed=0, **options).double()
    x = 0.9 * inputs(2 if by_rows else 40, 3).double()
    run = exact(model, rows=x if by_rows else None)
    assert {block.route for block in run.plan().blocks} == {"rows" if by_rows else "nodes"}
    torch.testing.assert_close(run.model(x), model(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(run.model.network.edges(x)[1], model.edges(x)[1], rtol=0, atol=1e-6)
    assert run.report(x).changed == 0


def test_packed_values_are_the_same():
    model = qkan.QKAN([3, 2], reps=2, seed=0)
    first, second = (exact(model, pack=pack).model.network.layers[0].basis.values for pack in (1, 7))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def hybrid():
    """Linear, circuit, DARUAN."""
    circuit = Circuit(2).angle_embedding().then(strongly_entangling(2, 1)).measure()
    return torch.nn.Sequential(torch.nn.Linear(3, 2), QuantumLayer(circuit, seed=0), qkan.KANLayer(2, 2, seed=0))


def test_circuits_without_nodes_are_measured_for_the_rows():
    model, x = hybrid(), inputs(6, 3)
    run = exact(model, rows=x)
    assert {block.name: (block.route, block.circuits) for block in run.plan().blocks} == {
        "1": ("rows", 6),
        "2.basis": ("rows", 24),
    }
    torch.testing.assert_close(run.model(x), model(x), rtol=0, atol=1e-6)
    with pytest.raises(DomainError, match="was measured for 6 certain input rows and knows no others"):
        run.model(x + 0.1)
    with pytest.raises(OptionError, match="block '1' has no nodes: give the input rows to measure it for"):
        exact(model)


def test_rows_in_other_types_and_dimensions():
    layer = QuantumLayer(Circuit(2).angle_embedding().measure(), seed=0)
    x = inputs(2, 3, 2)
    run = exact(layer, rows=x.numpy())
    assert run.plan().circuits == 6
    torch.testing.assert_close(run.model(x), layer(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(run.model(x.double()), layer(x), rtol=0, atol=1e-6)
    by_edge = qkan.KANLayer(2, 1, reps=4, base=None, seed=0)
    run = exact(by_edge, rows=x[:, 0])
    assert run.plan().blocks[0].route == "rows"
    torch.testing.assert_close(run.model(x[:, 0].double()).float(), by_edge(x[:, 0]), rtol=0, atol=1e-6)


def test_inputs_given_by_name():
    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = QuantumLayer(Circuit(2).angle_embedding().measure(), seed=0)

        def forward(self, x):
            return self.layer(x=x)

    model, x = Named(), inputs(4, 2)
    torch.testing.assert_close(exact(model, rows=x).model(x), model(x), rtol=0, atol=1e-6)


def test_circuits_without_angles():
    layer, x = QuantumLayer(Circuit(1).ry(0.3, 0).measure(Z(0)), seed=0), torch.zeros(3, 0)
    run = exact(layer, rows=x, shots=1000, seed=0)
    assert abs(run.model(x) - math.cos(0.3)).max() < 0.1
    assert len(run.plot().axes) == 1


def test_later_blocks_see_what_earlier_ones_returned():
    """Blocks measured for rows get the measured outputs of those before them as their inputs."""
    model, x = hybrid(), inputs(6, 3)
    run = exact(model, rows=x, shots=50, seed=0)
    layer = run.model.network[1]
    torch.testing.assert_close(run.model.network[2].basis.inputs, layer.values)
    assert run.report().blocks[0].rms > 0.01


def test_blocks_called_twice_need_nodes():
    class Twice(torch.nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def forward(self, x):
            return self.block(self.block(x))

    x = inputs(1, 2)
    model = Twice(qkan.KANLayer(2, 2, reps=3, seed=0))
    run = exact(model, rows=x)
    assert run.plan().blocks[0].route == "nodes"
    torch.testing.assert_close(run.model(x), model(x), rtol=0, atol=1e-5)
    circuit = Circuit(2).angle_embedding().measure()
    with pytest.raises(OptionError, match="block 'block' is called more than once per pass"):
        exact(Twice(QuantumLayer(circuit, seed=0)), rows=x)


def test_a_block_alone_and_a_shared_block():
    layer, x = QuantumLayer(Circuit(2).angle_embedding().ry(0.3, 0), seed=0), inputs(4, 2)
    torch.testing.assert_close(exact(layer, rows=x).model(x), layer(x), rtol=0, atol=1e-6)
    shared = qkan.KANLayer(2, 2, reps=2, seed=0)
    model = torch.nn.Sequential(shared, shared)
    run = exact(model, rows=x)
    assert run.plan().circuits == 20
    torch.testing.assert_close(run.model(x), model(x), rtol=0, atol=1e-5)


def test_a_model_that_trained_on_a_backend_is_planned_without_it():
    class Refusing(backends.Backend):
        name = "refusing"
        capabilities = backends.Capabilities(exact=True, shots=True, wires=20)

    model = qkan.QKAN([2, 1], reps=2, seed=0, backend=Refusing())
    plain = qkan.QKAN([2, 1], reps=2, seed=0)
    x = inputs(3, 2)
    torch.testing.assert_close(exact(model, rows=x).model(x), plain(x), rtol=0, atol=1e-6)


def test_measured_networks_are_saved_and_loaded(tmp_path):
    model, x = qkan.QKAN([3, 2, 1], reps=2, readout="amplitude", seed=0), inputs(5, 3)
    run = exact(model, shots=100, seed=0)
    run.model.network.save(tmp_path / "deployed")
    loaded = qkan.load(tmp_path / "deployed")
    torch.testing.assert_close(loaded(x), run.model(x), rtol=0, atol=0)
    assert not torch.allclose(loaded(x), model(x), atol=1e-3)
    assert loaded.layers[0].basis.variances.min() > 0
    with pytest.raises(ModelFileError, match="a QKAN with these measured circuits cannot be saved; its ledger keeps"):
        exact(model, rows=x[:1]).model.network.save(tmp_path / "rows")


@pytest.mark.parametrize("kind", ["qkan-lstm", "hqkan-lstm", "qkan-gru"])
def test_recurrent_networks_use_what_was_measured(kind, tmp_path):
    """Their time loop takes coefficients from the basis without calling it."""
    model, x = Forecaster(kind, 3, seed=0), inputs(5, 6, 1)
    torch.testing.assert_close(exact(model).model(x), model(x), rtol=0, atol=1e-5)
    run = exact(model, shots=50, seed=0)
    mean, error = run.model(x, return_std=True)
    ratio = (mean - model(x)).abs() / error
    assert 0.05 < ratio.mean() < 3
    assert (run.model(x) - model(x)).abs().max() > 1e-3
    with pytest.raises(ModelFileError, match="a Forecaster with these measured circuits cannot be saved"):
        run.model.network.save(tmp_path / "model")


# -- mistakes --------------------------------------------------------------------------------------------------------


def test_mistakes_are_one_sentence():
    model = qkan.QKAN([2, 1], reps=2, seed=0)
    with pytest.raises(OptionError, match="a Linear without DARUAN bases or quantum layers has no circuits to deploy"):
        exact(torch.nn.Linear(2, 1))
    with pytest.raises(OptionError, match="shots=0 must be a whole number of at least 1"):
        exact(model, shots=0)
    with pytest.raises(OptionError, match="pack=0 must be"):
        exact(model, pack=0)
    with pytest.raises(OptionError, match="the circuit has 21 wires, but backend 'torch' has 20"):
        exact(qkan.QKAN([3, 2], reps=2, seed=0), pack=21, dry_run=True)
    with pytest.raises(OptionError, match="fold factor 2 must be an odd whole number"):
        exact(model, fold_factors=(1, 2))
    with pytest.raises(OptionError, match="corrects measured bits, but exact values have none: give shots=N"):
        exact(model, readout_mitigation=True)
    with pytest.raises(OptionError, match=r"fold factors \(1, 1, 3\) must differ from one another"):
        exact(model, shots=10, fold_factors=(1, 1, 3))
    with pytest.raises(OptionError, match=r"fold factors \(3,\) must hold two different ones"):
        exact(model, shots=10, fold_factors=3)
    with pytest.raises(OptionError, match=r"delay=-1 must be a number of seconds, 0 or more"):
        exact(model, delay=-1)
    with pytest.raises(DataError, match="rows must be a table of numbers"):
        exact(model, rows=[["a", "b"]])
    with pytest.raises(DataError, match="rows holds no row"):
        exact(model, rows=torch.zeros(0, 2))
    with pytest.raises(NonFiniteError, match="rows hold NaN or infinity"):
        exact(model, rows=[[0.1, math.nan]])
    broken = qkan.QKAN([2, 1], reps=2, seed=0)
    with torch.no_grad():
        broken.layers[0].basis.theta[0, 0, 0] = math.inf
    with pytest.raises(NonFiniteError, match=r"parameter layers.0.basis.theta of the model holds NaN or infinity"):
        exact(broken)


def test_models_that_computed_their_coefficients_before_are_refused():
    """Their circuits would be paid for, and their values never used."""
    model = qkan.QKAN([2, 1], reps=2, seed=0)
    with pytest.raises(
        OptionError, match=r"0 \(FrozenKANLayer\) holds coefficients of circuits that it no longer runs"
    ):
        exact(model.compile_inference())
    kept, x = qkan.QKAN([2, 1], reps=2, readout="amplitude", seed=0), inputs(5, 2)
    assert not torch.allclose(exact(kept.compile_inference(), shots=10, seed=0).model(x), kept(x), atol=1e-3)
    measured = exact(model, shots=10, seed=0).model
    torch.testing.assert_close(measured.network.compile_inference()(x), measured(x), rtol=0, atol=1e-5)


def test_any_module_with_the_protocol_is_deployed():
    """``circuits`` knows no layer: here is one of a user's own."""

    class Cosine(torch.nn.Module):
        """cos(x + a) of one input, from three nodes."""

        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.tensor(0.4))

        def forward(self, x):
            return torch.cos(x + self.a)

        def block_circuit(self):
            from qkan.circuits import data

            return Circuit(1).ry(data(0), 0)

        def node_count(self):
            return 3

        def node_rows(self):
            return (2 * math.pi / 3 * torch.arange(3) + self.a)[:, None]

        def row_count(self, rows):
            return rows

        def input_rows(self, x):
            return x + self.a

        def measured(self, values, variances, x=None):
            nodes = 2 * math.pi / 3 * torch.arange(3)

            class Interpolated(torch.nn.Module):
                def forward(self, x):
                    return ((1 + 2 * torch.cos(x - nodes)) / 3 @ values[:, 0].to(x.dtype))[:, None]

            return Interpolated()

    model, x = Cosine(), inputs(9, 1)
    run = exact(model)
    torch.testing.assert_close(run.model(x), model(x), rtol=0, atol=1e-6)
    np.testing.assert_allclose(run.report().blocks[0].rms, 0, atol=1e-6)
