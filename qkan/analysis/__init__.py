"""Metrics with intervals, conformal prediction sets, SHAP values and their pictures."""
