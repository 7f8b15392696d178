"""Benchmarks that `asv` runs over the project's history."""
