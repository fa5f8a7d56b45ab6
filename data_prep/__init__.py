"""From face images and labels on disk to the LMDBs that Caffe reads."""
