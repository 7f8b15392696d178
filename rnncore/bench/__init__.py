"""Measurement: workloads, how they are checked, timed and reported."""
