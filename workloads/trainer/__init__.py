"""Trains one model at one site of several; `workloads.sync` merges what the sites have learnt."""
