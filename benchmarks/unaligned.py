"""Write a copy of a data set whose faces are shifted, scaled and turned at random: does a region help on those?

    python -m benchmarks.unaligned /path/to/CelebA build/unaligned --attributes Eyeglasses,Smiling
    face-cascade data build/unaligned/faces.csv --frame none --out data/unaligned

Each face is moved once, in all splits, by its number: shifted by up to --shift of the picture's sides, scaled by up to
--scale and turned by up to --turn degrees, all uniform. Pictures have CelebA's 178 x 218 pixels; true boxes move along.
The CSV keeps the splits and the persons of the data set.
"""

import csv
import dataclasses
import pathlib

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.measure import run_script
from data_prep import geometry
from data_prep.settings import setting
from data_prep.sources.celeba import BOXES
from data_prep.sources.opening import open_source
from data_prep.store.image_list import SPLITS
from data_prep.synthetic.synthetic_faces import mark_synthetic

SIZE = np.array([geometry.ALIGNED_WIDTH, geometry.ALIGNED_HEIGHT])


@dataclasses.dataclass
class Settings:
    """What is written."""

    data: str = setting(help="The data set, as face-cascade data takes it")
    out: str = setting(help="The folder to write")
    attributes: list[str] = setting(factory=list, help="The attributes", shown="the data set's")
    shift: float = setting(0.1, "Largest shift, as a share of the picture's sides", least=0)
    scale: float = setting(0.2, "Largest change of size", least=0, most=0.9)
    turn: float = setting(15, "Largest angle in degrees", least=0)


def moved_eyes(rng, shift, scale, turn):
    """Where the eyes are in the aligned picture that is to be cut so that a face is moved at random, (2, 2)."""
    centre = SIZE / 2
    angle, factor = np.radians(rng.uniform(-turn, turn)), 1 / (1 + rng.uniform(-scale, scale))
    rotation = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (geometry.ALIGNED_EYES - centre) @ rotation.T + centre + rng.uniform(-shift, shift, 2) * SIZE


def picture(source, index, eyes):
    """A face cut so that what is at `eyes` of the aligned picture comes to CelebA's eyes, and the transform (2, 3).

    The transform is from the data set's image to the picture.
    """
    image = source.image(index)
    if source.frame is None:
        to_image = np.array([[image.shape[1] / SIZE[0], 0, 0], [0, image.shape[0] / SIZE[1], 0]])
        if image.shape[:2] != tuple(SIZE[::-1]):  # squashed, as CelebA at 64 x 64 pixels: stretched back first
            image = cv2.resize(image, tuple(map(int, SIZE)), interpolation=cv2.INTER_CUBIC)
        own = eyes
    else:
        to_image = geometry.similarity(geometry.ALIGNED_EYES, np.array(source.frame))
        own = geometry.moved(eyes, to_image)
    from_image = geometry.similarity(geometry.moved(eyes, to_image), geometry.ALIGNED_EYES)
    return geometry.align(image, own)[1], from_image


def main(settings):
    source, out = open_source(settings.data), pathlib.Path(settings.out)
    (out / "images").mkdir(parents=True, exist_ok=True)
    source.open(out)
    names = settings.attributes or source.default_attributes
    columns = source.columns(names)
    parts, boxes = {number: split for split, number in SPLITS.items()}, []
    with open(out / "faces.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *(["person"] if source.persons else []), "split", *names])
        for index, name in enumerate(tqdm(source.names, unit="face", disable=None)):
            eyes = moved_eyes(np.random.default_rng([7, index]), settings.shift, settings.scale, settings.turn)
            image, from_image = picture(source, index, eyes)
            path = f"images/{index:06d}.jpg"
            cv2.imwrite(str(out / path), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            person = [source.persons[index]] if source.persons else []
            labels = source.labels[index, columns].astype(int).tolist()
            writer.writerow([path, *person, parts[source.partition[index]], *labels])
            for attribute, box in source.boxes.get(name, {}).items():
                sides = geometry.bounding(box, from_image)
                boxes.append([path, attribute, *np.clip(sides, 0, np.tile(SIZE, 2)).round(2)])
    if boxes:
        with open(out / BOXES, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["image_id", "attribute", "x1", "y1", "x2", "y2"], *boxes])
    if source.synthetic:
        mark_synthetic(out, len(source.names))
    print(f"{out}/faces.csv: {len(source.names):,} faces")


if __name__ == "__main__":
    run_script(main, Settings)
