"""Synthetic data: episodes that a checkpoint imagines, with scores that say which to believe."""
