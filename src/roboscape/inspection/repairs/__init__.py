"""Repairs of recordings: pure changes of episodes and specs, by the names that `inspect` prints."""
