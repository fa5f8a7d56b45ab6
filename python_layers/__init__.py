"""The paper's three ideas as Caffe Python layers: region mapping, RoI warp, early stopping."""
