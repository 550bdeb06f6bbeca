"""RoboScape: a learned simulator of your robot."""
