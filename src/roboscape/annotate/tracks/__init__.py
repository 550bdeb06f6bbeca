"""Keypoint tracks: the protocol, its backends, and the camera's own motion."""
