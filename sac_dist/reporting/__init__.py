"""What people see of a run: logs, curves, the terminal, and descriptions of data."""
