"""Tasks: initial states, observations, rewards, success and end."""
