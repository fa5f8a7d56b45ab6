"""Measurements of the engine against BVLC Caffe and against plain PyTorch: `make bench`."""
