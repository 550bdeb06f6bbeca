"""Reading the robot's state off the tokens of one frame."""
