"""Control signals: the action input of a world model, and the states that commands lead to."""
