"""What engines are held against: the oracle, networks and calls for it, and how far a result may be off."""
