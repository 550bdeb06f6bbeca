"""A compact visuomotor policy: a small CNN and a 1-D U-Net that draws action chunks by flow."""
