"""Data loading, transforms, losses, metrics, the loop, checkpoints, ONNX export."""
