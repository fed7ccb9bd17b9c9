"""Arrays in, arrays out: the numerical kernels, each beside its plain reference.

``reference``        the definitions in plain PyTorch, float64-clean; what every fast path is tested against
``spectral``         node values to Fourier coefficients, harmonic and cardinal (Dirichlet, torus) features
``spline``           closed forms of uniform B-splines
``program``          a circuit as text and as number tables
``node_ops``         a layer of circuits by nodes, as one PyTorch operator (``node_layer_cpu``, ``small_layer_cpu``)
``edge_ops``         a layer of circuits edge by edge, as one operator (``bloch_cpu``, ``bloch_rows_cpu``)
``recurrence_ops``   a sequence through an LSTM or GRU of such layers, as one operator (``recurrence_layer_cpu``)
``spline_layer``     a layer of cubic splines with edge scales and a base branch, as one function (``spline_cpu``)
``spline_ops``       splines, and scales times coefficients, as operators (``spline_cpu``)
``rational``         safe Padé functions of groups of features, the definition
``rational_ops``     the same as operators (``rational_cpu``, ``rational_triton``)
``lstm_ops``         a sequence through an LSTM with dense gates, as one function (``lstm_cpu``)
``ops``              coefficients and harmonics by themselves, as operators (``numba_cpu``)
``dispatch``         picks by device, dtype and availability; :func:`explain` says what was picked

The modules ending in ``_cpu`` hold compiled code and are imported on first use.
"""

from qkan.kernels import dispatch, edge_ops, node_ops, ops, program, recurrence_ops, reference, spectral, spline
from qkan.kernels.dispatch import explain

__all__ = [
    "dispatch",
    "edge_ops",
    "explain",
    "node_ops",
    "ops",
    "program",
    "recurrence_ops",
    "reference",
    "spectral",
    "spline",
]
