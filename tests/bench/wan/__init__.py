"""Training over an emulated link, by this product and by its peers, in one run: `python -m tests.bench.wan`."""
