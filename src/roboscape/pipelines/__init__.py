"""Complete runs as functions: demo, quickstart, prepare, learn."""
