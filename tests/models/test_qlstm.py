"""QLSTM against its circuits and against a plain loop."""

import pytest
import torch

from qkan.circuits import QuantumLayer
from qkan.errors import OptionError, ShapeError
from qkan.models.qlstm import QLSTM, gate_circuit


@pytest.mark.parametrize(("inputs", "hidden", "depth"), [(1, 1, 1), (1, 3, 2), (2, 2, 5), (1, 5, 5)])
def test_gates_are_the_published_circuits(inputs, hidden, depth):
    model = QLSTM(inputs, hidden, depth, seed=0).double()
    v = torch.randn(7, inputs + hidden, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = model._gates(v, model.unitaries())
    for gate in range(4):
        layer = QuantumLayer(gate_circuit(inputs + hidden, depth, hidden), seed=0, dtype=torch.float64)
        with torch.no_grad():
            layer.theta.copy_(model.theta[gate].flatten())
        torch.testing.assert_close(found[:, gate], layer(v), rtol=0, atol=1e-12)


def test_parameters_are_those_published():
    """126 with the read-out of five hidden units."""
    model = torch.nn.ModuleList([QLSTM(1, 5, 5, seed=0), torch.nn.Linear(5, 1)])
    assert sum(p.numel() for p in model.parameters()) == 126


def test_sequences_are_loops_of_steps_and_pass_gradcheck():
    model = QLSTM(2, 2, 2, seed=0).double()
    x = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    output, (h, c) = model(x)
    state = None
    for step in range(3):
        part, state = model(x[step : step + 1], state)
        torch.testing.assert_close(part[0], output[step])
    torch.testing.assert_close(state[0], h)
    torch.testing.assert_close(state[1], c)
    first = QLSTM(2, 2, 2, batch_first=True, seed=0).double()
    torch.testing.assert_close(first(x.transpose(0, 1))[0], output.transpose(0, 1))
    assert torch.autograd.gradcheck(lambda x: model(x)[0], x.requires_grad_())


def test_mistakes_are_one_sentence():
    with pytest.raises(OptionError, match="hidden_size=0 must be"):
        QLSTM(1, 0)
    with pytest.raises(ShapeError, match="must be three-dimensional and end in 1"):
        QLSTM(1, 2, seed=0)(torch.zeros(3, 4, 2))
