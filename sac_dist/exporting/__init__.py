"""Policies as files that need no trainer: .npz, .onnx and .pt2. See docs/deploy.md."""
