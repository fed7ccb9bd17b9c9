"""Networks whose gates choose the basis of their edges."""

import pytest
import torch

from qkan import KAN
from qkan.errors import ModelFileError, OptionError
from qkan.models import KAAM, fit_mixture

POOL = [{"basis": "bspline", "grid": 10, "grid_range": [-3, 3]}, {"basis": "fourier", "degree": 3}, "daruan"]
NOISE = 0.1


def waves(x):
    return torch.sin(x) + 0.5 * torch.cos(2 * x) - 0.7 * torch.sin(3 * x)


def kinks(x):
    return 2 * torch.relu(1 - 2 * (x - 0.5).abs()) - torch.relu(1 - 1.5 * (x + 1.5).abs())


def sample(function, inputs, rows, seed):
    """Inputs on [-3, 3], standardised labels with noise, and a held-out part without."""
    local = torch.Generator().manual_seed(seed)
    x, held = ((torch.rand(rows, inputs, generator=local) * 2 - 1) * 3 for _ in range(2))
    clean, truth = function(x), function(held)
    mean, std = clean.mean(), clean.std()
    return (x, (clean - mean) / std + NOISE * torch.randn(clean.shape, generator=local)), (held, (truth - mean) / std)


def error(model, held):
    return float((model.predict(held[0]) - held[1]).square().mean().sqrt())


@pytest.mark.parametrize("seed", [0, 4])
def test_a_trigonometric_target_chooses_a_trigonometric_member(seed):
    """Degree 3 is in the span of "fourier" and of a DARUAN with three repetitions, and not in that of the splines.

    Which of the two wins is up to the start: where both fit, their gates can stay near a tie.
    """
    data, held = sample(waves, 1, 300, seed)
    model = KAN([1, 1], "mixture", members=POOL, base=None, seed=seed)
    choice = fit_mixture(model, data, steps=(200, 200, 200), progress=False)
    assert choice.gates["basis"].item() in ("fourier", "daruan")
    assert float(choice.mixture.layers[0].basis.gates().detach()[0]) < 0.1  # splines
    assert choice.model.layers[0].basis.name == choice.gates["basis"].item()
    alone = {}
    for options in POOL[:2]:
        one = KAN([1, 1], **options, base=None, seed=seed)
        one.fit(data, steps=600, progress=False)
        alone[options["basis"]] = error(one, held)
    # The series is the best there is; circuits come close. Splines fit worse.
    assert error(choice.model, held) < min(1.5 * alone["fourier"], alone["bspline"], NOISE / 2)
    assert list(choice.histories) == ["full", "selective", "pruned"]
    assert sum(p.numel() for p in choice.model.parameters()) < sum(p.numel() for p in model.parameters()) / 2
    assert choice.gates["basis"].item() in str(choice)


def test_edges_choose_for_themselves():
    data, held = sample(lambda x: waves(x[:, :1]) + kinks(x[:, 1:]) / 0.6, 2, 500, seed=1)
    model = KAN([2, 1], "mixture", members=POOL, gate="edge", base=None, seed=1)
    choice = fit_mixture(model, data, steps=(300, 300, 300), progress=False)
    assert choice.gates["basis"].tolist() == ["fourier", "bspline"]
    assert error(choice.model, held) < 1.05 * error(choice.mixture, held)


def test_the_penalty_decides_the_gates():
    data, _ = sample(waves, 1, 50, seed=0)
    gaps = []
    for lamb_gate in (0.0, 2.0):
        model = KAN([1, 3, 1], "mixture", members=POOL, seed=0)
        history = model.fit(data, steps=60, lr=0.1, lamb_gate=lamb_gate, progress=False)
        gaps.append(float(model.gate_entropy().detach()))
        assert (history["reg"][0] > 0) is (lamb_gate > 0)
    assert gaps[1] < gaps[0] / 2


def test_a_selected_network_is_saved_pruned_and_trained_like_others(tmp_path):
    data, held = sample(waves, 2, 60, seed=0)
    labels = data[1][:, :1]
    for gate in ("layer", "edge"):
        model = KAN([2, 3, 1], "mixture", members=POOL, gate=gate, seed=0)
        with torch.no_grad():
            for level, layer in enumerate(model.layers):
                layer.basis.logits[..., level] += 1.0  # the layers choose different bases
        model.save(tmp_path / f"{gate}-all")
        assert torch.equal(KAN.load(tmp_path / f"{gate}-all")(held[0]), model(held[0]))
        chosen = model.select()
        chosen.fit((data[0], labels), steps=3, progress=False)
        chosen.save(tmp_path / gate)
        assert torch.equal(KAN.load(tmp_path / gate)(held[0]), chosen(held[0]))
        pruned = chosen.prune(edge_th=0.0)
        pruned.model.save(tmp_path / f"{gate}-pruned")
        assert torch.allclose(chosen.compile_inference()(held[0]), chosen(held[0]), atol=1e-5)
    with pytest.raises(ModelFileError, match="not 'KAAM'"):
        KAAM.load(tmp_path / "edge")


def test_an_additive_classifier_chooses_too(tmp_path):
    data, held = sample(waves, 2, 60, seed=0)
    model = KAAM(2, basis="mixture", members=POOL, gate="edge", seed=0)
    choice = fit_mixture(model, (data[0], (data[1][:, 0] > 0).long()), steps=(5, 5, 5), progress=False)
    assert isinstance(choice.model, KAAM)
    choice.model.save(tmp_path / "m")
    assert torch.equal(KAAM.load(tmp_path / "m")(held[0]), choice.model(held[0]))


def test_bad_requests_are_named():
    plain, mixture = KAN([1, 1], seed=0), KAN([1, 1], "mixture", seed=0)
    data = torch.zeros(4, 1), torch.zeros(4, 1)
    for call, message in [
        (lambda: fit_mixture(plain, data), "needs a network with basis='mixture'"),
        (lambda: plain.fit(data, lamb_gate=1.0), "gate_entropy needs a layer with basis='mixture'"),
        (lambda: mixture.fit(data, lamb_gate=-1.0), "lamb_gate=-1.0 must be zero or a positive"),
        (lambda: fit_mixture(mixture, data, steps=(1, 1)), "must be three numbers"),
        (lambda: fit_mixture(mixture, data, steps=(0, 1, 1)), "steps=0 must be a whole number of at least 1"),
        (lambda: fit_mixture(mixture, data, lamb_gate=0.0), "or the gates need not decide"),
    ]:
        with pytest.raises(OptionError, match=message):
            call()
