"""The training loop, its state on disk and inference; knows tensors, not file formats."""
