"""What can be wrong with recordings, found in the data, each with evidence and its repair."""
