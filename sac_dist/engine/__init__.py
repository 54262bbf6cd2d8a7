"""The processes of a run. This is the only wing that starts any."""
