"""Planting faults in good recordings, to see which `inspect` finds and `mend` mends."""
