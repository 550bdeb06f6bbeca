"""What a world model is told: control signals, and the proprioception that commands lead to."""
