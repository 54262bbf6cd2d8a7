"""What an update computes. An algorithm is its losses, its groups of parameters, and its settings."""
