"""Exported models: ONNX files that need no torch, and a page that runs them in a browser."""
