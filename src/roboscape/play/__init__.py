"""Drive the learned simulator in a browser, with the true one beside it."""
