"""Attributes of an aligned face with pycaffe alone, on either Caffe; see README.md, "With Caffe's own commands".

.caffe/bin/python examples/predict.py models/cascade/deploy.prototxt build/cascade_iter_30000.caffemodel face.jpg
.caffe/bin/python examples/predict.py FOLDER face.jpg        a folder that `face-cascade export --zoo` wrote
"""

import os
import pathlib
import re
import sys

os.environ.setdefault("GLOG_minloglevel", "2")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # for python_layers

import caffe  # noqa: E402
import cv2  # noqa: E402

if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
*model, picture = sys.argv[1:]
if len(model) == 1:
    model = [pathlib.Path(model[0]) / "deploy.prototxt", *pathlib.Path(model[0]).glob("*.caffemodel")]
image = cv2.imread(picture) if os.path.isfile(picture) else None
for file, good in ((picture, image is not None), (model[0], len(model) == 2 and os.path.isfile(model[0]))):
    if not good:
        sys.exit(f"error: {file}: not there, or not what is expected in its place")
deploy, weights = map(str, model)
names = re.search(r"^# \d+ attributes: (.+)$", pathlib.Path(deploy).read_text(), re.MULTILINE)[1].split(", ")
net = caffe.Net(deploy, caffe.TEST)
net.copy_from(weights)

# The network takes the centre 224 x 224 pixels of the face squashed to 256 x 256, B G R, 0 to 255; it subtracts the
# mean itself.
height, width = image.shape[:2]
face = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA if height > 256 else cv2.INTER_LINEAR)
net.blobs["data"].data[0] = face[16:240, 16:240].transpose(2, 0, 1)
net.forward()

# Trained on as many faces with an attribute as without: `face-cascade evaluate` finds the calibrated probabilities.
# Task one alone has region_prob, and task two alone, which sees the whole face, has no regions.
probabilities = net.blobs["prob" if "prob" in net.blobs else "region_prob"].data[0]
for index, (name, probability) in enumerate(zip(names, probabilities)):
    text = f"{name}: probability {probability:.3f}"
    if "rois_image" in net.blobs:
        x1, y1, x2, y2 = (net.blobs["rois_image"].data[0, index] + 16) / 256 * (width, height, width, height)
        text += f", region {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}"
    print(text)
