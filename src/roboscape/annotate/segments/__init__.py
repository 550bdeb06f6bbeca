"""Action segments: the protocol and its backends."""
