"""Robots as data."""
