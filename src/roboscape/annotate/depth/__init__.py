"""Depth estimation: the protocol, its backends, and their alignment with metres."""
