"""Objects as data."""
