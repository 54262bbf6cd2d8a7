"""Transitions: their schema, the ring that workers fill, data sets, and how batches are drawn from them."""
