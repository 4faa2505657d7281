"""Queues: who gets GPUs, at which site, and when."""
