"""The speed of this machine, and how close the engine comes to it: `roboscape bench`."""
