"""The measuring instruments. Each runs alone: `python -m benchmarks.NAME`."""
