"""From what a policy asks of an arm to the commands that a simulator takes."""
