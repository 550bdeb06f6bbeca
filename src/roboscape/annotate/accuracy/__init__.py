"""Accuracy of annotators against the simulator's truth."""
