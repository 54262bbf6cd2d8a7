"""The page of --watch, in a browser, by viser."""
