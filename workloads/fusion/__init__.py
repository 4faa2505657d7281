"""Finished models of one architecture made one: weighted and Fisher-weighted means, greedy soup and TIES."""
