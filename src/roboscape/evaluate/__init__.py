"""Fidelity, geometry, controllability and physical plausibility of imagined video."""
