"""Policies and critics. Each network is defined once, for acting, training, compiling and exporting."""
