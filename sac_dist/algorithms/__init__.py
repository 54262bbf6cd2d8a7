"""What an update computes: an algorithm is its losses, the parameters that it optimises, and its settings."""
