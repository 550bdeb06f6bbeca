"""Policies at the other end of a websocket, by the protocol of openpi's policy servers."""
