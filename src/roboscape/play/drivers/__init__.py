"""Drivers: the sources of the actions of a played world, from keys to planners."""
