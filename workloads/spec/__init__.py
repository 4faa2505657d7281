"""The one seam between `infra/` and `workloads/`: frozen, torch-free models that both sides parse with the same class."""
