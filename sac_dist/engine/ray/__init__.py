"""The engine of a Ray cluster. Only modules of this package import ray; the local engine never loads them."""
