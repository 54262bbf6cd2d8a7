"""``--optimize``: a search over settings by Optuna, whose trials are short runs."""
