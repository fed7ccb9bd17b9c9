"""DARUAN layers whose circuits run on a backend."""

import copy

import pytest
import torch

import qkan
from qkan.bases import Daruan
from qkan.circuits import backends
from qkan.errors import OptionError

OPTIONS = [
    {},
    {"ansatz": "rpz", "frequencies": "binary"},
    {"ansatz": "px", "reps": 2},
    {"ansatz": "mix", "encoding": "shared", "reps": 2},
    {"ansatz": "real", "encoding": "edge", "reps": 2},
    {"readout": "amplitude", "reps": 2},
    {"groups": 2, "reps": 2},
]


class Shifted(backends.Backend):
    """The exact simulator without its own gradients, so that the parameter-shift rule is used."""

    name = "shifted"
    capabilities = backends.Capabilities(exact=True, shots=True, wires=20)

    def __init__(self, **options):
        super().__init__(**options)
        self.circuits = 0

    def execute(self, task):
        self.circuits += len(task.rows)
        return backends.get("torch").execute(task)


def pair(backend, **options):
    """The same basis without and with a backend, in float64."""
    plain = Daruan(3, 2, seed=0, **options).double()
    other = Daruan(3, 2, seed=1, backend=backend, **options).double()
    other.load_state_dict(plain.state_dict())
    return plain, other


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("backend", ["torch", "shifted"])
def test_outputs_and_gradients_are_those_of_the_exact_path(backend, options):
    plain, other = pair("torch" if backend == "torch" else Shifted(), **options)
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.6 - 0.8
    weight = torch.rand(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = []
    for basis in (plain, other):
        rows = x.clone().requires_grad_()
        y = basis(rows, weight)
        grads = torch.autograd.grad(y.square().sum(), [rows, *basis.parameters()])
        found.append([y, basis.edges(x), *grads])
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-9, atol=1e-9)


def test_cost_is_nodes_not_rows():
    backend = Shifted()
    _, basis = pair(backend)
    basis(torch.zeros(1000, 3, dtype=torch.float64))
    assert backend.circuits == 3 * 2 * 7


def test_a_network_trains_on_shots():
    data = qkan.create_dataset(lambda x: torch.sin(2 * x[:, :1]), n_var=1, train_num=64, test_num=64, seed=0)
    model = qkan.QKAN([1, 2, 1], reps=2, seed=0, backend=backends.get("torch", shots=1000, seed=0))
    before = (model(data["test_input"]) - data["test_label"]).square().mean().item()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        (model(data["train_input"]) - data["train_label"]).square().mean().backward()
        optimizer.step()
    exact = qkan.QKAN([1, 2, 1], reps=2, seed=0)
    exact.load_state_dict(model.state_dict())
    assert (exact(data["test_input"]) - data["test_label"]).square().mean().item() < 0.1 * before


def test_what_a_backend_leaves_alone(tmp_path):
    """It is no part of the configuration, and stays with copies and larger layers."""
    model = qkan.QKAN([2, 1], reps=2, seed=0, backend="torch")
    basis = model.layers[0].basis
    assert "backend" not in model.config()
    assert copy.deepcopy(model).layers[0].basis.backend is basis.backend is model.refine(3).layers[0].basis.backend
    model.save(tmp_path / "model")
    loaded = qkan.load(tmp_path / "model")
    assert loaded.layers[0].basis.backend is None
    x = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=2e-6)
    assert "backend 'torch'" in str(qkan.kernels.explain(model, x))
    with pytest.raises(OptionError, match="backend 'brisket' is not known"):
        qkan.QKAN([2, 1], backend="brisket")
