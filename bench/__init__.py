"""Measurements: each writes `bench/results/NAME.json`. Run as `python -m bench.NAME`."""
