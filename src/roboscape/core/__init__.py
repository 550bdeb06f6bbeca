"""What every stage uses: configuration, seeds, files, number formats. No robots, no models."""
