"""Acting in environments: the episode loop, evaluation, playback, and recording demonstrations."""
