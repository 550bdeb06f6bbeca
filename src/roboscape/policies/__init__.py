"""Policies behind one protocol, and the loop that runs them in any simulator."""
