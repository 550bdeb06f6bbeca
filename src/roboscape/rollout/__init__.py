"""Imagining frames one by one from a prompt and actions."""
