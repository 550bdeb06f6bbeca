"""The success judge: whether a task is solved, seen from RGB and depth, and how often it errs."""
