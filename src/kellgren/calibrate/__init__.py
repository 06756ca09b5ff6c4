"""Fits what a model applies: calibrators, thresholds, decision rules, ensembles. Without torch."""
