"""The dual-branch RGB and depth autoregressive transformer (RoboScape, section 2.3)."""
