"""Benchmarks against named peers; `python -m benchmarks.run` runs them all."""
