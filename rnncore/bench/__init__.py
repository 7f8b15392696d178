"""Measurement: what a workload is, how it is checked, timed and reported."""
