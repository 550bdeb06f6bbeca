"""Simulators, learned and true, behind one protocol: reset, step, snapshot, restore."""
