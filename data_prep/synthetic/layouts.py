"""The folder layouts of synthetic faces: CelebA's and LFWA's."""

import cv2
import numpy as np

from data_prep import geometry
from data_prep.attributes import CELEBA_ATTRIBUTES
from data_prep.files import write_json
from data_prep.sources import celeba, lfwa
from data_prep.sources.source import SYNTHETIC

LANDMARKS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")


class CelebA:
    """178 x 218 pixels, lists as text."""

    images = celeba.IMAGES[0]

    @staticmethod
    def name(index):
        """Path of image `index` (from 0) below the images' folder."""
        return f"{index + 1:06d}.jpg"

    @staticmethod
    def frame(image):
        """The image in this layout's framing, and the affine matrix (2, 3) from the aligned image to it."""
        return image, np.eye(2, 3)

    @staticmethod
    def write(folder, faces):
        """Write the lists. faces: list of (name, forty bool, landmarks (5, 2), rows of true boxes)."""
        count = len(faces)
        points = " ".join(f"{name}_{axis}" for name in LANDMARKS for axis in "xy")
        signs = [name + "".join(f" {1 if label else -1:2d}" for label in labels) for name, labels, *_ in faces]
        places = [
            name + "".join(f" {value:4d}" for value in np.round(landmarks).astype(int).ravel())
            for name, _, landmarks, _ in faces
        ]
        parts = [int(i >= round(0.8 * count)) + int(i >= round(0.9 * count)) for i in range(count)]
        _write_lines(folder / celeba.LABELS[0], [str(count), " ".join(CELEBA_ATTRIBUTES) + " ", *signs])
        _write_lines(folder / "list_landmarks_align_celeba.txt", [str(count), points, *places])
        _write_lines(folder / celeba.PARTITION[0], [f"{face[0]} {part}" for face, part in zip(faces, parts)])


class Lfwa:
    """250 x 250 pixels, one to four images of a person, lists as MATLAB files."""

    images = "lfw"

    @staticmethod
    def name(index):
        """Path of image `index` (from 0) below the images' folder. Every ten images are of four people: 1, 2, 3, 4."""
        block, place = divmod(index, 10)
        person, number = [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 3), (3, 4)][place]
        name = f"Synthetic_Person_{4 * block + person + 1:04d}"
        return f"{name}/{name}_{number:04d}.jpg"

    @staticmethod
    def frame(image):
        """As CelebA.frame: the eyes are moved to LFW's positions, and edge pixels are repeated to fill the square."""
        matrix = geometry.similarity(geometry.ALIGNED_EYES, geometry.LFW_EYES)
        size = (geometry.LFW_SIZE, geometry.LFW_SIZE)
        return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), matrix

    @staticmethod
    def write(folder, faces):
        """As CelebA.write. The first and the last four of every ten images are for training: whole people."""
        import scipy.io

        names = np.array([face[0].replace("/", "\\") for face in faces], dtype=object)
        attributes = np.array([name.replace("_", " ") for name in CELEBA_ATTRIBUTES], dtype=object)
        labels = np.array([face[1] for face in faces], dtype=np.float64)
        annotation = {"name": names[:, np.newaxis], "AttrName": attributes[:, np.newaxis], "label": labels}
        scipy.io.savemat(folder / lfwa.ANNOTATION, annotation)
        place = np.arange(len(faces)) % 10
        training = (place == 0) | (place >= 6)
        indices = {"train": np.flatnonzero(training), "test": np.flatnonzero(~training)}
        columns = {f"indices_img_{part}": images[:, np.newaxis] + 1.0 for part, images in indices.items()}
        scipy.io.savemat(folder / lfwa.INDICES, columns)


LAYOUTS = {"celeba": CelebA, "lfwa": Lfwa}


def mark_synthetic(folder, count):
    """Write the file that tells that the faces of a folder are rendered."""
    write_json(folder / SYNTHETIC, {"synthetic faces": count, "rendered by": "data_prep.synthetic.synthetic_faces"})


def write_boxes(folder, faces):
    """Write the true boxes: where each present attribute was drawn."""
    _write_lines(folder / celeba.BOXES, ["image_id,attribute,x1,y1,x2,y2", *(row for face in faces for row in face[3])])


def _write_lines(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
