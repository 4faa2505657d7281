"""Watching a run: metrics for Prometheus, tracking in MLflow, and a view of all sites for a person."""
