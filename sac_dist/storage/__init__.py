"""A run on the disk: its folder, its checkpoints, and the segments of its replay."""
