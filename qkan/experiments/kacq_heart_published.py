"""Figures of the published notebooks on the 918-row heart file, and the scores to reach on honest data.

The notebooks are those of the public repository of KACQ-DCNN (arXiv 2410.07446), not the tables of the paper. Their
file reveals the label (see :mod:`qkan.data.heart`), the groups of models have different test rows, the networks were
selected on the test rows, and the quantum networks were trained on labels in another order than their rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkan.analysis.coverage import binomial_interval


@dataclass(frozen=True)
class Published:
    """Scores of one model in the notebooks: accuracy, ROC-AUC where it is one, and the number of test rows."""

    accuracy: float
    roc_auc: float | None
    test_rows: int

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95 % interval of the accuracy."""
        return accuracy_interval(self.accuracy, self.test_rows)


def accuracy_interval(accuracy: float, rows: int) -> tuple[float, float]:
    """Exact (Clopper-Pearson) 95 % interval of an accuracy on ``rows`` independent rows."""
    return binomial_interval(np.arange(rows) < round(accuracy * rows))


_CLASSICAL = {
    "catboost": (0.9076, 0.9534),
    "mlp": (0.8696, 0.9406),
    "logistic_regression": (0.8587, 0.9267),
    "knn": (0.8641, 0.9171),
    "lda": (0.8478, 0.9243),
    "random_forest": (0.8967, 0.9525),
    "qda": (0.8370, 0.9209),
    "hist_gradient_boosting": (0.8750, 0.9409),
    "lightgbm": (0.8913, 0.9503),
    "xgboost": (0.8696, 0.9372),
    "gradient_boosting": (0.9130, 0.9463),
    "adaboost": (0.8696, 0.9339),
    "bagging": (0.8750, 0.9257),
    "bernoulli_nb": (0.8098, 0.8970),
    "decision_tree": (0.7717, 0.7702),
    "dummy": (0.5543, 0.5),
}
#: Their AUC was computed from hard labels and is left out.
_QUANTUM = {
    "mera": (0.5870, 0.4058, 0.5942, 0.4058),
    "mps": (0.4058, 0.4058, 0.4058, 0.5978),
    "ttn": (0.5942, 0.4058, 0.5942, 0.5942),
}
_HYBRID = {
    "bilstm-kan": (0.8804, 0.9503),
    "qdense-kan": (0.8804, 0.9353),
    "qckan-1": (0.8333, 0.9057),
    "qckan-2": (0.8297, 0.9101),
    "qckan-3": (0.8188, 0.9070),
    "qckan-4": (0.8333, 0.9076),
    "kacq-1": (0.9203, 0.9477),
}

#: Model -> figures of the notebooks. Those of KACQ-DCNN are known for one layer only.
PUBLISHED: dict[str, Published] = {
    **{model: Published(*scores, 184) for model, scores in _CLASSICAL.items()},
    **{
        f"{kind}-{layers}": Published(accuracy, None, 276)
        for kind, scores in _QUANTUM.items()
        for layers, accuracy in enumerate(scores, 1)
    },
    **{model: Published(*scores, 276) for model, scores in _HYBRID.items()},
}

#: Table -> classical model -> accuracy and ROC-AUC over 5 × 10 folds, with missing values kept: the scores to reach.
BARS: dict[str, dict[str, dict[str, float]]] = {
    "heart": {
        "logistic_regression": {"accuracy": 0.807, "roc_auc": 0.892},
        "random_forest": {"accuracy": 0.810, "roc_auc": 0.884},
    },
    "cleveland": {"logistic_regression": {"accuracy": 0.847, "roc_auc": 0.910}},
}
