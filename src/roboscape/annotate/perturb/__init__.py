"""Errors of known size, planted in the simulator's depth and tracks."""
