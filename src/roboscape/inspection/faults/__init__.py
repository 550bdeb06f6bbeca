"""Faults of recordings, found in the data, each with evidence and its repair."""
