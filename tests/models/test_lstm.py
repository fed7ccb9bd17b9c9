"""Recurrent networks: laid out as PyTorch's, equal to loops of cells, on the fused and the plain way."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

import qkan
from qkan import HQKANGRU, HQKANLSTM, QKANGRU, QKANLSTM
from qkan.errors import ModelFileError, OptionError, ShapeError
from qkan.kernels import explain
from qkan.models import HQKANGRUCell, HQKANLSTMCell, QKANGRUCell, QKANLSTMCell

NETWORKS = {
    "QKANLSTM": (QKANLSTM, QKANLSTMCell, nn.LSTM),
    "HQKANLSTM": (HQKANLSTM, HQKANLSTMCell, nn.LSTM),
    "QKANGRU": (QKANGRU, QKANGRUCell, nn.GRU),
    "HQKANGRU": (HQKANGRU, HQKANGRUCell, nn.GRU),
}
#: Options on the fused way, and on the plain one for several reasons.
OPTIONS = {
    "default": {},
    "no_base": {"base": None, "scale": False, "reps": 2},
    "binary": {"reps": 3, "frequencies": "binary"},
    "px": {"ansatz": "px"},
    "shared": {"encoding": "shared", "reps": 2},
    "edge": {"encoding": "edge"},
    "amplitude": {"readout": "amplitude"},
    "gelu": {"base": "gelu"},
    "grouped": {"groups": 2},
    "bspline": {"basis": "bspline"},
    "fourier": {"basis": "fourier", "degree": 2, "base": None},
}
FUSED = ("default", "no_base", "binary", "grouped")


@pytest.fixture(params=NETWORKS)
def kinds(request):
    return NETWORKS[request.param]


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def states(hx) -> tuple[torch.Tensor, ...]:
    return hx if isinstance(hx, tuple) else (hx,)


def close(found, expected) -> None:
    for mine, its in zip(states(found), states(expected), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-5, atol=2e-6)


def loop(model, x, hx=None):
    """The network as a loop of its cells over x (T, B, n): outputs and state."""
    parts = [torch.zeros(len(model.cells), x.shape[1], size) for size in model.cells[0].state_sizes]
    parts = parts if hx is None else states(hx)
    last = []
    for layer in range(model.num_layers):
        sides = []
        for direction in range(model.directions):
            cell = model.cells[layer * model.directions + direction]
            state = tuple(part[layer * model.directions + direction] for part in parts)
            state = state if cell.kind == "lstm" else state[0]
            outs = []
            for step in x.flip(0) if direction else x:
                state = cell(step, state)
                outs.append(states(state)[0])
            sides.append(torch.stack(outs[::-1] if direction else outs))
            last.append(states(state))
        x = torch.cat(sides, -1)
    joined = tuple(torch.stack(part) for part in zip(*last, strict=True))
    return x, joined if model.cells[0].kind == "lstm" else joined[0]


# -- layout --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("given", [False, True], ids=["zero_state", "state"])
def test_shapes_are_those_of_pytorch(kinds, batch_first, bidirectional, unbatched, given):
    ours, _, theirs = kinds
    options = {"num_layers": 2, "batch_first": batch_first, "bidirectional": bidirectional}
    model, peer = ours(3, 4, **options, seed=0), theirs(3, 4, **options)
    x = draw(*((6, 3) if unbatched else (5, 6, 3) if batch_first else (6, 5, 3)))
    directions = 2 if bidirectional else 1
    size = (2 * directions, 4) if unbatched else (2 * directions, 5, 4)
    hx = (draw(*size), draw(*size, seed=2)) if given else None
    hx = hx[0] if given and theirs is nn.GRU else hx
    out, last = model(x, hx)
    its_out, its_last = peer(x, hx)
    assert out.shape == its_out.shape
    assert type(last) is type(its_last)
    assert [part.shape for part in states(last)] == [part.shape for part in states(its_last)]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_two_layer_bidirectional_network_is_a_loop_of_its_cells(options):
    model, x = QKANLSTM(3, 4, 2, bidirectional=True, seed=0, **options), draw(5, 6, 3)
    hx = (draw(4, 6, 4, seed=2), draw(4, 6, 4, seed=3))
    for given in (None, hx):
        out, last = model(x, given)
        expected, its_last = loop(model, x, given)
        close(out, expected)
        close(last, its_last)


def test_every_network_is_a_loop_of_its_cells(kinds):
    model, x = kinds[0](3, 4, 2, bidirectional=True, seed=0), draw(5, 6, 3)
    out, last = model(x)
    expected, its_last = loop(model, x)
    close(out, expected)
    close(last, its_last)
    flipped = kinds[0](3, 4, 2, bidirectional=True, batch_first=True, seed=0)
    close(flipped(x.transpose(0, 1))[0].transpose(0, 1), out)
    alone, its_last = model(x[:, 2])
    close(alone, out[:, 2])
    close(its_last, tuple(part[:, 2] for part in last) if isinstance(last, tuple) else last[:, 2])


def test_cells_take_a_row_alone_and_have_the_layout_of_pytorch(kinds):
    _, cell_class, _ = kinds
    cell, x = cell_class(3, 4, seed=0), draw(5, 3)
    after = cell(x)
    assert all(part.shape == (5, 4) for part in states(after))
    alone = cell(x[2], tuple(torch.zeros(4) for _ in states(after)) if isinstance(after, tuple) else torch.zeros(4))
    close(alone, tuple(part[2] for part in after) if isinstance(after, tuple) else after[2])


def test_cells_compute_the_published_equations():
    cell, x, h, c = QKANLSTMCell(3, 4, seed=0), draw(5, 3), draw(5, 4, seed=2), draw(5, 4, seed=3)
    i, f, g, o = cell.gates(torch.cat([x, h], -1)).chunk(4, -1)
    new_c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    close(cell(x, (h, c)), (o.sigmoid() * new_c.tanh(), new_c))


def test_a_gru_of_linear_maps_is_pytorchs():
    """Edges without circuits (scale 0) and the base "identity" make the layer linear."""
    model, peer = QKANGRU(3, 4, base="identity", seed=0), nn.GRU(3, 4)
    layer = model.cells[0].gates
    with torch.no_grad():
        layer.scale.zero_()
        layer.bias.copy_(draw(12, seed=5))
        peer.weight_ih_l0.copy_(layer.base_weight[:, :3])
        peer.weight_hh_l0.copy_(layer.base_weight[:, 3:])
        peer.bias_ih_l0.copy_(layer.bias)
        peer.bias_hh_l0.zero_()
    x = draw(6, 5, 3)
    close(model(x)[0], peer(x)[0])
    edgewise = QKANGRU(3, 4, base="identity", encoding="edge", seed=0)
    edgewise.load_state_dict(model.state_dict(), strict=False)
    close(edgewise(x)[0], peer(x)[0])


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_an_lstm_of_linear_maps_is_pytorchs_with_projection():
    model = QKANLSTM(3, 4, 2, proj_size=2, bidirectional=True, base="identity", seed=0)
    peer = nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True)
    with torch.no_grad():
        for number, cell in enumerate(model.cells):
            name = f"l{number // 2}" + ("_reverse" if number % 2 else "")
            cell.gates.scale.zero_()
            cell.gates.bias.copy_(draw(16, seed=number))
            getattr(peer, f"weight_ih_{name}").copy_(cell.gates.base_weight[:, :-2])
            getattr(peer, f"weight_hh_{name}").copy_(cell.gates.base_weight[:, -2:])
            getattr(peer, f"bias_ih_{name}").copy_(cell.gates.bias)
            getattr(peer, f"bias_hh_{name}").zero_()
            getattr(peer, f"weight_hr_{name}").copy_(cell.projection.weight)
    x, hx = draw(6, 5, 3), (draw(4, 5, 2, seed=8), draw(4, 5, 4, seed=9))
    for mine, its in zip(model(x, hx), peer(x, hx), strict=True):
        close(mine, its)
    packed = pack_padded_sequence(x, torch.tensor([3, 6, 1, 5, 6]), enforce_sorted=False)
    (mine, last), (its, its_last) = model(packed, hx), peer(packed, hx)
    assert torch.equal(mine.batch_sizes, its.batch_sizes)
    assert torch.equal(mine.unsorted_indices, its.unsorted_indices)
    close(mine.data, its.data)
    close(last, its_last)


# -- packed sequences ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["default", "gelu"])
@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("given", [False, True], ids=["zero_state", "state"])
def test_packed_sequences_are_each_computed_alone(kinds, enforce_sorted, given, route):
    model = kinds[0](3, 4, 2, bidirectional=True, seed=0, **OPTIONS[route])
    lengths = [6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4]
    rows = [draw(length, 3, seed=number) for number, length in enumerate(lengths)]
    hx = (draw(4, 4, 4), draw(4, 4, 4, seed=2)) if given else None
    hx = hx[0] if given and kinds[2] is nn.GRU else hx
    out, last = model(pack_sequence(rows, enforce_sorted=enforce_sorted), hx)
    padded, found_lengths = pad_packed_sequence(out)
    assert found_lengths.tolist() == lengths
    for number, row in enumerate(rows):
        begin = None if hx is None else tuple(part[:, number] for part in states(hx))
        begin = begin[0] if begin is not None and len(begin) == 1 else begin
        expected, its_last = model(row, begin)
        close(padded[: len(row), number], expected)
        close(tuple(part[:, number] for part in states(last)), states(its_last))


def test_what_is_padded_has_no_effect_and_no_gradient():
    model = QKANLSTM(2, 3, bidirectional=True, seed=0)
    x, lengths = draw(6, 4, 2), torch.tensor([6, 2, 5, 3])
    valid = torch.arange(6).unsqueeze(1) < lengths
    results = []
    for fill in (0.0, 1e3):
        leaf = torch.where(valid.unsqueeze(-1), x, fill).requires_grad_()
        out, last = model(pack_padded_sequence(leaf, lengths, enforce_sorted=False))
        grads = torch.autograd.grad(out.data.square().sum() + last[0].sum(), [leaf, *model.parameters()])
        assert (grads[0][~valid] == 0).all()
        results.append([out.data, *grads])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


# -- both ways -----------------------------------------------------------------------------------------------------


def outcome(model, x, hx):
    """Outputs, states, and gradients by input, state and parameters."""
    x, hx = x.detach().requires_grad_(), tuple(part.detach().requires_grad_() for part in hx)
    out, last = model(x, hx if len(hx) > 1 else hx[0])
    loss = (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()
    loss = loss + sum(part.square().sum() for part in states(last))
    return [out, *states(last), *torch.autograd.grad(loss, [x, *hx, *model.parameters()])]


@pytest.mark.parametrize("name", FUSED)
def test_fused_and_plain_ways_agree_on_outputs_and_every_gradient(kinds, name, monkeypatch):
    model = kinds[0](3, 5, 2, seed=0, **{**OPTIONS[name]})
    count = 2 if kinds[2] is nn.LSTM else 1
    x, hx = draw(9, 7, 3), tuple(draw(2, 7, 5, seed=2 + k) for k in range(count))
    assert "in one call; computed by a compiled kernel" in explain(model, x)
    found = outcome(model, x, hx)
    monkeypatch.setenv("QKAN_KERNELS", "reference")
    assert "features and one matrix product in every step; computed by plain PyTorch" in explain(model, x)
    exact = outcome(model.double(), x.double(), [part.double() for part in hx])
    for mine, true in zip(found, exact, strict=True):
        assert float((mine - true).detach().norm() / true.detach().norm()) < 5e-6


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"proj_size": 2}, "outputs are projected"),
        ({"encoding": "edge"}, "the gates are not features times coefficients"),
        ({"base": "gelu"}, "no compiled time loop for base='gelu'"),
        ({"basis": "rbf"}, "no compiled time loop for the basis 'rbf'"),
        ({"encoding": "shared"}, "no compiled time loop for encoding='shared'"),
    ],
)
def test_explain_says_why_the_plain_loop_runs(options, sentence):
    assert sentence in explain(QKANLSTM(3, 4, seed=0, **options), draw(5, 2, 3))


@pytest.mark.parametrize("name", ["default", "edge", "px", "bspline"])
def test_gradients_of_a_sequence(name):
    options = {"extend": "clamp"} if name == "px" else {}
    model, x = QKANLSTM(2, 3, seed=0, **OPTIONS[name], **options).double(), 0.3 * draw(3, 2, 2).double()
    check_gradients(model, (x, (0.3 * draw(1, 2, 3).double(), draw(1, 2, 3, seed=3).double())))


def test_gradients_of_networks_and_cells(kinds):
    network, cell, _ = kinds
    hx = tuple(0.3 * draw(1, 2, 3, seed=k).double() for k in range(2))
    hx = hx if kinds[2] is nn.LSTM else hx[0]
    check_gradients(network(2, 3, seed=0).double(), (draw(3, 2, 2).double(), hx))
    hx = tuple(part[0] for part in hx) if isinstance(hx, tuple) else hx[0]
    check_gradients(cell(2, 3, seed=0).double(), (draw(2, 2).double(), hx))


def check_gradients(model, inputs) -> None:
    names, values = zip(*model.named_parameters(), strict=True)
    x, hx = inputs
    x, hx = x.requires_grad_(), tuple(part.requires_grad_() for part in states(hx))

    def run(x, *rest):
        state, parameters = rest[: len(hx)], dict(zip(names, rest[len(hx) :], strict=True))
        found = torch.func.functional_call(model, parameters, (x, state if len(state) > 1 else state[0]))
        return [part for whole in (found if isinstance(found, tuple) else (found,)) for part in states(whole)]

    assert torch.autograd.gradcheck(lambda *v: tuple(run(*v)), (x, *hx, *values))


def test_circuits_run_once_per_sequence(monkeypatch):
    """Whatever the number of steps, on the plain way as well."""
    basis, calls = qkan.bases.Daruan, []

    def counted(method):
        return lambda self, *rest: calls.append(method.__name__) or method(self, *rest)

    for method in (basis.matrix, basis.coefficients):
        monkeypatch.setattr(basis, method.__name__, counted(method))
    for name in ("default", "gelu"):
        QKANLSTM(2, 3, seed=0, **OPTIONS[name])(draw(20, 4, 2))
    assert calls == ["matrix", "coefficients"]


# -- as modules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_save_load_and_copy(name, tmp_path):
    model, x = QKANLSTM(3, 4, 2, bidirectional=True, seed=1, **OPTIONS[name]), draw(5, 6, 3)
    model.save(tmp_path / "m")
    for other in (QKANLSTM.load(tmp_path / "m"), qkan.load(tmp_path / "m"), copy.deepcopy(model)):
        assert type(other) is QKANLSTM
        assert torch.equal(other(x)[0], model(x)[0])


def test_every_network_is_saved(kinds, tmp_path):
    model, x = kinds[0](3, 4, batch_first=True, bias=False, seed=1), draw(5, 6, 3)
    model.save(tmp_path / "m")
    loaded = qkan.load(tmp_path / "m")
    assert loaded.batch_first
    assert torch.equal(loaded(x)[0], model(x)[0])
    assert not any("bias" in name for name in model.state_dict())


def test_an_unregistered_basis_is_not_saved(tmp_path):
    own = type("Own", (qkan.bases.get("fourier"),), {})
    with pytest.raises(ModelFileError, match="Own is not registered"):
        QKANLSTM(3, 4, basis=own, seed=0).save(tmp_path / "m")


def test_seeds_decide_and_leave_global_state_alone(kinds):
    before = torch.get_rng_state()
    one, same, other = (kinds[0](3, 4, 2, seed=seed).state_dict() for seed in (5, 5, 6))
    kinds[0](3, 4)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    key = next(key for key in one if key.endswith("theta"))
    assert not torch.equal(one[key], other[key])
    assert not torch.equal(one[key], one[key.replace("cells.0", "cells.1")])


def test_dropout_acts_between_layers_and_in_training_only():
    model, x = QKANLSTM(3, 4, 2, dropout=1.0, seed=0), draw(5, 6, 3)
    plain = QKANLSTM(3, 4, 2, seed=0)
    assert torch.equal(model.eval()(x)[0], plain(x)[0])
    model.train()
    first = model(x)[1]
    assert torch.equal(first[0][0], plain(x)[1][0][0])
    assert not torch.equal(first[0][1], plain(x)[1][0][1])
    with pytest.warns(UserWarning, match="does nothing with num_layers=1"):
        QKANLSTM(3, 4, dropout=0.5)


def test_bfloat16_and_pruned_edges():
    model, x = QKANLSTM(3, 4, seed=0), draw(5, 6, 3)
    mask = torch.ones(16, 7)
    mask[:, 1] = 0
    model.cells[0].gates.set_mask(mask)
    changed = x.clone()
    changed[..., 1] = 9
    assert torch.equal(model(x)[0], model(changed)[0])
    half = model.to(torch.bfloat16)(x.bfloat16())[0]
    assert half.dtype == torch.bfloat16
    assert float((half.float() - model.float()(x)[0]).detach().abs().max()) < 0.05


def test_it_trains_on_a_sine():
    t = torch.linspace(0, 20, 200)
    windows = torch.sin(t).unfold(0, 9, 1)
    model, head = QKANLSTM(1, 4, batch_first=True, seed=0), nn.Linear(4, 1)
    optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=0.02)
    losses = []
    for _ in range(60):
        loss = (head(model(windows[:, :8, None])[0][:, -1]) - windows[:, 8:]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize("name", ["default", "bspline"])
def test_compiles_whole(name):
    model, x = QKANLSTM(3, 4, seed=0, **OPTIONS[name]), draw(5, 6, 3)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    close(compiled(x)[0], model(x)[0])


def test_can_be_exported():
    model, x = HQKANLSTM(3, 4, seed=0).eval(), draw(5, 6, 3)
    exported = torch.export.export(model, (x,))
    close(exported.module()(x)[0], model(x)[0])


def test_parameter_counts():
    """Bare pz edges with r = 1 have 4 angles each: 16 H (1 + H) for one input, more than an LSTM of the same size."""
    for size in (1, 5, 8):
        model = QKANLSTM(1, size, bias=False, base=None, scale=False)
        assert qkan.count(model).trainable == 16 * size * (1 + size)
    assert HQKANLSTM(1, 7).cells[0].gates.latent == (3, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_cuda_graphs_repeat_the_network(kinds):
    model, x = kinds[0](3, 4, 2, seed=0).cuda(), draw(5, 6, 3).cuda()
    run = model.capture(x)
    close(run(x)[0].cpu(), model(x)[0].cpu())
    found = torch.autograd.grad(run(x)[0].square().sum(), list(model.parameters()))
    expected = torch.autograd.grad(model(x)[0].square().sum(), list(model.parameters()))
    for mine, its in zip(found, expected, strict=True):
        close(mine.cpu(), its.cpu())


# -- bad input -----------------------------------------------------------------------------------------------------

MODEL = QKANLSTM(3, 4, seed=0)


@pytest.mark.parametrize(
    ("make", "kind", "sentence"),
    [
        (lambda: QKANLSTM(3, 0), OptionError, "hidden_size=0 must be a whole number of at least 1"),
        (lambda: QKANLSTM(2.5, 4), OptionError, "input_size=2.5 must be"),
        (lambda: QKANLSTM(3, 4, 0), OptionError, "num_layers=0"),
        (lambda: QKANLSTM(3, 4, 2, dropout=1.5), OptionError, "dropout=1.5 must be a number from 0 to 1"),
        (lambda: QKANLSTM(3, 4, proj_size=4), OptionError, "proj_size=4 must be smaller than hidden_size=4"),
        (lambda: QKANGRU(3, 4, proj_size=2), OptionError, "a GRU has no option 'proj_size'"),
        (lambda: QKANLSTM(3, 4, basis="none"), OptionError, "basis='none' is not known"),
        (lambda: QKANLSTM(3, 4, grid=5), OptionError, "has no option 'grid'"),
        (lambda: QKANLSTM(3, 4, basis="fourier", reps=2), OptionError, "'fourier' has no option 'reps'"),
        (lambda: MODEL(draw(5, 6, 2)), ShapeError, r"\(5, 6, 2\) must have 2 or 3 dimensions, .* input_size=3"),
        (lambda: MODEL(draw(3)), ShapeError, "must have 2 or 3 dimensions"),
        (lambda: MODEL(draw(0, 6, 3)), ShapeError, "must have at least one step"),
        (lambda: MODEL(draw(5, 6, 3).double()), OptionError, "the input is torch.float64 on cpu, the network torch"),
        (lambda: MODEL(torch.zeros(5, 6, 3, dtype=torch.long)), OptionError, "the input is torch.int64"),
        (lambda: MODEL(draw(5, 6, 3), draw(1, 6, 4)), ShapeError, "must be a pair"),
        (lambda: MODEL(draw(5, 6, 3), (draw(1, 6, 4), draw(1, 5, 4))), ShapeError, r"\(1, 5, 4\); it must be a pair"),
        (lambda: MODEL(draw(5, 3), (draw(1, 6, 4), draw(1, 6, 4))), ShapeError, "a sequence without a batch"),
        (lambda: MODEL(pack_sequence([draw(5, 2)])), ShapeError, "input_size=3"),
        (lambda: QKANLSTMCell(3, 4)(draw(5, 2)), ShapeError, "must have 1 or 2 dimensions"),
        (lambda: QKANGRUCell(3, 4)(draw(5, 3), draw(5, 3)), ShapeError, "must be one tensor h"),
        (lambda: MODEL.capture(draw(5, 6, 3)), OptionError, "the input is on cpu; CUDA graphs need a GPU"),
    ],
)
def test_bad_input_is_one_sentence(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()


def test_nan_stays_in_its_own_sequence():
    x = draw(5, 6, 3)
    clean = MODEL(x)[0]
    x[2, 1, 0] = float("nan")
    out = MODEL(x)[0]
    assert out[2:, 1].isnan().all()
    assert torch.equal(out[:, 2:], clean[:, 2:])


def test_an_empty_batch():
    out, (h, c) = MODEL(draw(5, 0, 3))
    assert out.shape == (5, 0, 4)
    assert h.shape == c.shape == (1, 0, 4)
