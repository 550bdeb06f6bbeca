"""The base of all stages: configuration, seeds, files, number formats. No robots, no models."""
