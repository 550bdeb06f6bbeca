"""Frames to discrete tokens and back (MAGVIT-2, lookup-free quantisation)."""
