"""Anything that makes recordings, written as a LeRobot v3 dataset."""
