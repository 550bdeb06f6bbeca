"""Faults in datasets, found with evidence and repaired in a copy."""
