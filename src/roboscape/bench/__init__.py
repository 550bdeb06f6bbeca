"""How fast this machine is, and how close to it the engine comes: `roboscape bench`."""
