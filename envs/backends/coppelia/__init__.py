"""CoppeliaSim through PyRep."""
