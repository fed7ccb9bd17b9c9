"""Recipes that train, evaluate and report."""
