"""Proof of the engines: the oracle, networks and calls for it, and the table of tolerances."""
