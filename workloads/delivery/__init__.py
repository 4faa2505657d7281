"""Models and results on their way through stores that are not a folder of this machine. Imports no torch."""
