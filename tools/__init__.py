"""The commands of face-cascade: installation, training, evaluation, report, prediction, export."""

import os

# Set before any tool imports Caffe, whose start-up log would hide the tools' own messages.
os.environ.setdefault("GLOG_minloglevel", "2")
