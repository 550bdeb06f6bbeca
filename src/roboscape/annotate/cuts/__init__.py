"""Camera cuts: the protocol and its backends."""
