"""Files of demonstrations. Each format is one module; files.py finds the one for a path."""
