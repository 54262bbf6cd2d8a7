"""The simulators behind the tasks."""
