"""The paper's methods as Caffe Python layers: region mapping, RoI warp, early stopping, balanced batches."""
