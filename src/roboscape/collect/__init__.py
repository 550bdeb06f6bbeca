"""Recording simulated episodes as a LeRobot dataset."""
