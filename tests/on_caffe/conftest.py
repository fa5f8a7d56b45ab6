"""Before any test imports Caffe: keep its start-up log out of the reports."""

import os

os.environ["GLOG_minloglevel"] = "2"
