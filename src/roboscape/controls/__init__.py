"""Control signals, which a world model reads besides tokens, and the proprioception they hold."""
