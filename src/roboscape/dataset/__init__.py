"""LeRobot v3 datasets: read, write, inspect, and what the pipeline adds beside them."""
