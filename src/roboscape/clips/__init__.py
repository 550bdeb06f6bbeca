"""The strided clip index and its train/validation/test split."""
