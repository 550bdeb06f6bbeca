"""Optical flow: the protocol, its backends, and what it says about motion."""
