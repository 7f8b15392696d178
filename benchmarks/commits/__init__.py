"""What asv runs over the commits: the dashboard's sweep, and the gate."""
