"""The memory-mapped token store."""
