"""From what the stack turned out to be to the choices of a run. Pure and free of torch."""

from workloads.planning.planner import plan_run

__all__ = ["plan_run"]
