"""Recurrent networks with a read-out, by name."""

import pytest
import torch

import qkan
from qkan.errors import OptionError
from qkan.models.forecaster import CORES, Forecaster


@pytest.mark.parametrize("core", CORES)
def test_every_core(core, tmp_path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    model, again, other = (Forecaster(core, 3, 2, 4, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.randn(5, 6, 2, generator=torch.Generator().manual_seed(0))
    assert model(x).shape == (5, 4)
    assert torch.equal(model(x), again(x))
    assert not torch.allclose(model(x), other(x))
    model(x).square().sum().backward()
    assert all(part.grad is not None and torch.isfinite(part.grad).all() for part in model.parameters())
    model.save(tmp_path / "model")
    loaded = qkan.load(tmp_path / "model")
    assert type(loaded) is Forecaster
    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)


def test_options_reach_the_core_and_are_saved(tmp_path):
    model = Forecaster("qkan-lstm", 2, seed=0, reps=2, base=None)
    assert sum(part.numel() for part in model.core.parameters()) == 8 * 3 * (6 + 1) + 8  # 6 angles and a scale per edge
    model.save(tmp_path / "model")
    assert qkan.load(tmp_path / "model").config() == model.config()


def test_parameter_counts():
    """With one input and the read-out; the LSTM and QLSTM figures are those of the published comparisons."""
    counts = {core: sum(p.numel() for p in Forecaster(core, 5, seed=0).parameters()) for core in CORES}
    assert (counts["lstm"], counts["qlstm"]) == (166, 126)
    assert (counts["qkan-lstm"], counts["hqkan-lstm"]) == (746, 164)


def test_pytorchs_distribution():
    """Uniform within ±1/√H, as torch.nn.LSTM draws it."""
    weights = torch.cat([part.detach().flatten() for part in Forecaster("lstm", 64, seed=0).core.parameters()])
    bound = 64**-0.5
    assert weights.abs().max() <= bound
    assert weights.std() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_mistakes():
    with pytest.raises(OptionError, match="core='rnn' is not known; choose one of 'lstm', 'gru'"):
        Forecaster("rnn")
    with pytest.raises(OptionError, match="hidden_size=0 must be"):
        Forecaster("lstm", 0)
    with pytest.raises(OptionError, match="has no option 'reps'"):
        Forecaster("lstm", 2, reps=2)
