"""scikit-learn estimators: KANs and QKANs for pipelines, cross-validation, MAPIE and SHAP."""

from qkan.sklearn.additive import KAAMClassifier, LogisticKANClassifier
from qkan.sklearn.networks import KACQClassifier, KANClassifier, KANRegressor, NetworkClassifier

__all__ = [
    "KAAMClassifier",
    "KACQClassifier",
    "KANClassifier",
    "KANRegressor",
    "LogisticKANClassifier",
    "NetworkClassifier",
]
