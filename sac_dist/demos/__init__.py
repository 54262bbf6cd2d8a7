"""Demonstrations: transitions that somebody recorded, in one form whatever file they come from."""
