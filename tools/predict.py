"""Predict the attributes of aligned faces, with the region each was found in.

    .caffe/bin/python -m tools.predict --weights build/cascade_iter_30000.caffemodel --models models \\
        --lmdb data/lmdb --out build/predictions faces/ portrait.jpg

Faces must be aligned like CelebA's (the eyes level, the face filling the picture). Written to OUT:
predictions.json, predictions.csv (probability and region of each attribute, in pixels of the picture) and
NAME.png per picture. A file that is no readable image is reported and skipped; the exit code is then 1.
"""

import argparse
import csv
import json
import pathlib
import sys

import cv2
from tqdm import tqdm

from data_prep.faces import face, from_patch, patch
from tools import drawing, networks
from tools.networks import ToolError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


def find_images(paths):
    """Image files among files and folders, folders searched deeply. Raises ToolError for a missing one."""
    found = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        elif path.exists():
            found.append(path)
        else:
            raise ToolError(f"{path}: no such file or folder")
    if not found:
        raise ToolError(f"no image file in {', '.join(map(str, paths))}")
    return found


def predict(net, images, attributes):
    """Predictions of a batch: list of images -> list of {attribute: {"probability", "region"}}.

    region is x1 y1 x2 y2 in pixels of that image; it is left out by the whole_face net
    """
    blobs = [name for name in ("prob", "region_prob", "rois_image") if name in net.blobs]
    result = networks.forward(net, [patch(face(image)) for image in images], blobs)
    probabilities = result["prob"] if "prob" in result else result["region_prob"]
    predictions = []
    for row, image in enumerate(images):
        answer = {}
        for index, attribute in enumerate(attributes):
            answer[attribute] = {"probability": round(float(probabilities[row, index]), 4)}
            if "rois_image" in result:
                box = from_patch(result["rois_image"][row, index], image.shape)
                answer[attribute]["region"] = [round(float(side), 1) for side in box]
        predictions.append(answer)
    return predictions


def picture_name(path, taken):
    """Name of the picture for an image file, not among those taken."""
    name, number = path.stem, 2
    while name in taken:
        name, number = f"{path.stem}_{number}", number + 1
    taken.add(name)
    return f"{name}.png"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("images", nargs="+", help="image files and folders")
    add("--weights", required=True, help=".caffemodel of any of the networks")
    add("--models", default="models", help="folder with the networks' deploy prototxts (default models)")
    add("--lmdb", default="data/lmdb", help="LMDB folder it was trained on, for the attributes' names")
    add("--attributes", help="their names instead, comma-separated")
    add("--batch", type=int, default=16, help="faces per forward pass (default 16)")
    add("--out", type=pathlib.Path, default=pathlib.Path("build/predictions"), help="folder to write to")
    arguments = parser.parse_args()
    try:
        files = find_images(arguments.images)
        if arguments.attributes:
            attributes = arguments.attributes.split(",")
        else:
            attributes = networks.manifest(arguments.lmdb)["attributes"]
        model = networks.deploy(arguments.models, arguments.weights)
        net = networks.load(model, arguments.weights)
        if net.blobs["conv3"].data.shape[1] != len(attributes) * networks.CONV3_CHANNELS:
            raise ToolError(f"{model} is not for {len(attributes)} attributes: {', '.join(attributes)}")
        arguments.out.mkdir(parents=True, exist_ok=True)
        predictions, unreadable, taken = {}, 0, set()
        for batch in networks.batches(tqdm(files, unit="face", disable=None), arguments.batch):
            images = [cv2.imread(str(file), cv2.IMREAD_COLOR) for file in batch]
            for file, image in zip(batch, images):
                if image is None:
                    unreadable += 1
                    print(f"error: {file}: not a readable image, skipped", file=sys.stderr)
            read = [(file, image) for file, image in zip(batch, images) if image is not None]
            if not read:
                continue
            for (file, image), answer in zip(read, predict(net, [image for _, image in read], attributes)):
                predictions[str(file)] = answer
                rows = [(name, value["probability"], value.get("region")) for name, value in answer.items()]
                name = picture_name(file, taken)
                cv2.imwrite(str(arguments.out / name), drawing.prediction(image, rows))
        (arguments.out / "predictions.json").write_text(json.dumps(predictions, indent=1) + "\n")
        with open(arguments.out / "predictions.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "attribute", "probability", "x1", "y1", "x2", "y2"])
            for image, answer in predictions.items():
                for name, value in answer.items():
                    writer.writerow([image, name, value["probability"], *value.get("region", [])])
    except (ToolError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{arguments.out}: predictions of {len(predictions)} faces, {unreadable} files unreadable")
    sys.exit(1 if unreadable else 0)


if __name__ == "__main__":
    main()
