"""Planning by imagination: futures are imagined for candidate actions, and the best is taken."""
