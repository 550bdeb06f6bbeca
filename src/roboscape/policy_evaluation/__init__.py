"""Scores of policies in imagined worlds, and how far they can be trusted."""
