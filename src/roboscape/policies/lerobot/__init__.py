"""lerobot's policies: trained by lerobot's own trainer, in its environment, and served from it."""
