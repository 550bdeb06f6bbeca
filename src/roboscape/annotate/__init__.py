"""Physical priors: depth and keypoint tracks, each with several backends."""
