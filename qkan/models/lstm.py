"""LSTMs and GRUs whose gates are Kolmogorov-Arnold layers: QKAN-LSTM, HQKAN-LSTM and their GRU forms.

The cells are those of Hsu et al., arXiv 2512.05049: the affine maps of the gates are replaced by QKANs, or by HQKANs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from qkan import bases
from qkan.bases import Basis, Daruan
from qkan.errors import OptionError
from qkan.layers import KANLayer
from qkan.models.base import saved_as_own_kind
from qkan.models.cells import RecurrentCell
from qkan.models.jhcg import HQKAN
from qkan.models.recurrent import Recurrent


def _basis_options(basis: str | type[Basis], reps: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """Options of the gates' layer; only DARUAN has repetitions, one by default."""
    if issubclass(bases.get(basis), Daruan):
        reps = 1 if reps is None else reps
    return {"basis": basis, **options, **({} if reps is None else {"reps": reps})}


class _QKANCell(RecurrentCell):
    """Gates by one KAN layer on [x, h]."""

    outputs_per_unit: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        proj_size: int = 0,
        basis: str | type[Basis] = "daruan",
        reps: int | None = None,
        seed: int | None = None,
        **options: Any,
    ):
        super().__init__(input_size, hidden_size, proj_size)
        options = _basis_options(basis, reps, options)
        self._fill(lambda n, m, seed: KANLayer(n, m, bias=bias, seed=seed, **options), self.outputs_per_unit, seed)


class _HQKANCell(RecurrentCell):
    """Gates by one HQKAN on [x, h]."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        proj_size: int = 0,
        latent: int | Sequence[int] | None = None,
        reps: int = 1,
        seed: int | None = None,
        **options: Any,
    ):
        super().__init__(input_size, hidden_size, proj_size)
        options = {"latent": latent, "reps": reps, "bias": bias, "linear_bias": bias, **options}
        self._fill(lambda n, m, seed: HQKAN(n, m, seed=seed, **options), 4, seed)


class QKANLSTMCell(_QKANCell):
    """One step of a :class:`QKANLSTM`, with the arguments of ``torch.nn.LSTMCell``.

    With φ the one layer of width 4H (arXiv 2512.05049, whose four QKANs it holds side by side):

        i, f, g, o = φ([x, h]);   c' = σ(f) c + σ(i) tanh(g);   h' = σ(o) tanh(c')

    Args:
        input_size: width of x.
        hidden_size: H, width of h and c.
        bias: output bias of the gates.
        proj_size: if positive, h is W_hr h' of this width, as in ``torch.nn.LSTM``.
        basis: of the gates' edge functions, any registered one.
        reps: repetitions of DARUAN circuits; ``None`` is 1.
        seed: of local generators; ``None`` draws fresh entropy.
        **options: of :class:`~qkan.KANLayer` and the basis: ``base``, ``scale``, ``encoding`` …

    Shapes: x (B, input_size) or (input_size,), (h, c) -> (h', c').

    Raises:
        OptionError: a size or an option is not valid.
    """

    kind = "lstm"
    outputs_per_unit = 4


class HQKANLSTMCell(_HQKANCell):
    """One step of an :class:`HQKANLSTM`: as :class:`QKANLSTMCell`, with φ one :class:`~qkan.HQKAN`.

    Args:
        input_size: width of x.
        hidden_size: H in the formulas.
        bias: biases of encoder, core and decoder.
        proj_size: see :class:`QKANLSTMCell`.
        latent: of the HQKAN; ``None`` is ⌈log2(input_size + H)⌉.
        reps: repetitions of the core's circuits.
        seed: of local generators; ``None`` draws fresh entropy.
        **options: further options of :class:`~qkan.HQKAN`.

    Shapes: x (B, input_size) or (input_size,), (h, c) -> (h', c').

    Raises:
        OptionError: a size or an option is not valid.
    """

    kind = "lstm"


class QKANGRUCell(_QKANCell):
    """One step of a :class:`QKANGRU`, with the arguments of ``torch.nn.GRUCell``.

    One layer φ of width 3H; its output is a sum over inputs, so that the candidate's part by h, φ_n(h), separates from
    that by x, as in ``torch.nn.GRU``:

        r, z = φ_rz([x, h]);   n = tanh(φ_n(x) + σ(r) φ_n(h));   h' = (1 - σ(z)) n + σ(z) h

    Args and shapes: see :class:`QKANLSTMCell`; the state is h alone, and there is no ``proj_size``.
    """

    kind = "gru"
    outputs_per_unit = 3

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, **options: Any):
        _without_projection(options)
        super().__init__(input_size, hidden_size, bias, **options)


class HQKANGRUCell(_HQKANCell):
    """One step of an :class:`HQKANGRU`: gates r, z, a, b by one HQKAN of width 4H on [x, h].

        n = tanh(a + σ(r) b);   h' = (1 - σ(z)) n + σ(z) h

    The latent space mixes x and h, so that the candidate has two outputs here where :class:`QKANGRUCell` separates one.

    Args and shapes: see :class:`HQKANLSTMCell`; the state is h alone, and there is no ``proj_size``.
    """

    kind = "gru"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, **options: Any):
        _without_projection(options)
        super().__init__(input_size, hidden_size, bias, **options)


def _without_projection(options: dict[str, Any]) -> None:
    if "proj_size" in options:
        raise OptionError("a GRU has no option 'proj_size'.")


def _arguments(local: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments from ``locals()``, further options beside them."""
    named = {key: value for key, value in local.items() if key not in ("self", "options", "__class__")}
    return {**named, **local["options"]}


@saved_as_own_kind
class QKANLSTM(Recurrent):
    """An LSTM whose gates are one KAN layer on [x, h]; it takes the place of ``torch.nn.LSTM``.

    QKAN-LSTM of Hsu et al., arXiv 2512.05049; the equations are at :class:`QKANLSTMCell`. Node values and coefficients
    are computed once per sequence. On the CPU, with DARUAN's encoding "fixed" and the base branch "silu" or none, one
    compiled call takes all steps; :func:`qkan.kernels.explain` tells.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype: as in
            ``torch.nn.LSTM``. Dropout draws from PyTorch's global generator, as ``torch.nn.LSTM`` does.
        basis: of the gates' edge functions, any registered one.
        reps: repetitions of DARUAN circuits; ``None`` is 1.
        seed: of local generators; ``None`` draws fresh entropy.
        **options: of :class:`~qkan.KANLayer` and the basis: ``base``, ``scale``, ``encoding``, ``readout`` …

    Shapes: see :meth:`Recurrent.forward`, which are those of ``torch.nn.LSTM``.

    Raises:
        OptionError: a size or an option is not valid.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        basis: str | type[Basis] = "daruan",
        reps: int | None = None,
        seed: int | None = None,
        **options: Any,
    ):
        super().__init__(_arguments(locals()), QKANLSTMCell)


@saved_as_own_kind
class HQKANLSTM(Recurrent):
    """An LSTM whose gates are one HQKAN on [x, h]: linear encoder, DARUAN core, linear decoder for all four gates.

    HQKAN-LSTM of Hsu et al., arXiv 2512.05049; the gates share encoder and core here.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype: as in
            ``torch.nn.LSTM``.
        latent: of the HQKAN; ``None`` is ⌈log2(inputs + H)⌉.
        reps: repetitions of the core's circuits.
        seed: of local generators; ``None`` draws fresh entropy.
        **options: further options of :class:`~qkan.HQKAN`: ``groups``, ``encoding``, ``base``, ``scale`` …

    Shapes: see :meth:`Recurrent.forward`.

    Raises:
        OptionError: a size or an option is not valid.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        latent: int | Sequence[int] | None = None,
        reps: int = 1,
        seed: int | None = None,
        **options: Any,
    ):
        super().__init__(_arguments(locals()), HQKANLSTMCell)


@saved_as_own_kind
class QKANGRU(Recurrent):
    """A GRU whose gates are one KAN layer on [x, h]; it takes the place of ``torch.nn.GRU``.

    The equations are at :class:`QKANGRUCell`; arguments as for :class:`QKANLSTM`, without ``proj_size``.

    Raises:
        OptionError: a size or an option is not valid.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        basis: str | type[Basis] = "daruan",
        reps: int | None = None,
        seed: int | None = None,
        **options: Any,
    ):
        super().__init__(_arguments(locals()), QKANGRUCell)


@saved_as_own_kind
class HQKANGRU(Recurrent):
    """A GRU whose gates are one HQKAN on [x, h].

    The equations are at :class:`HQKANGRUCell`; arguments as for :class:`HQKANLSTM`, without ``proj_size``.

    Raises:
        OptionError: a size or an option is not valid.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        latent: int | Sequence[int] | None = None,
        reps: int = 1,
        seed: int | None = None,
        **options: Any,
    ):
        super().__init__(_arguments(locals()), HQKANGRUCell)
