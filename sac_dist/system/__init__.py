"""The machine: memory that processes share, files that are written whole, the processor."""
