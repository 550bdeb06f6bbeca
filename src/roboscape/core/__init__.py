"""What every stage uses: configuration, seeds, files, number formats, video. No robots or models."""
