"""What an update computes: an algorithm is its losses, the groups of parameters that it optimises, and its settings."""
