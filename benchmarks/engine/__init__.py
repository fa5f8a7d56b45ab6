"""Measurements of the engine against BVLC Caffe and against PyTorch written by hand: `make bench`."""
