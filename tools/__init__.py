"""What is done with a trained cascade: average regions, evaluation, prediction."""

import os

# Before any tool imports Caffe: its start-up log would bury the tools' own words.
os.environ.setdefault("GLOG_minloglevel", "2")
