"""Caffe's wire format (caffe.proto) for Python newer than Caffe's own."""
