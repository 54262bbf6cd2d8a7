"""The networks. Each is defined once, in blocks, for training, compiling and acting."""
