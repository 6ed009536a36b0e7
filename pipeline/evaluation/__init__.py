"""Metrics with intervals, from tables of predictions; knows no model."""
