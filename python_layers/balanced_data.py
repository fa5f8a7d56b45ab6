"""Balanced, augmented mini-batches, cropped during training: Caffe Python layer `BalancedData` (section 3.4.1)."""

import pathlib
import weakref

import caffe
import numpy as np

from data_prep.geometry import PATCH_SIZE
from data_prep.plan.balance import SAMPLE, Plan
from data_prep.store.manifest import SPLITS
from python_layers import arrays
from python_layers.balanced_folder import Parameters, read_folder
from python_layers.parameters import check_count, logs_errors, read_parameters
from python_layers.prefetch import Pool

# A float32 is exact only for whole numbers up to 2^24, so the position is stored in digits.
DIGITS, BASE = 4, 1 << 16


def to_digits(number):
    """A whole number >= 0 as digits (DIGITS,) float32, lowest digit first."""
    return np.array([number // BASE**place % BASE for place in range(DIGITS)], dtype=np.float32)


def from_digits(digits):
    """The inverse of to_digits."""
    return sum(int(digit) * BASE**place for place, digit in enumerate(digits))


class BalancedData(caffe.Layer):
    """Faces and labels from the compact form: the same tops as a Data layer on the stream form.

    TRAIN, top  data (b * A, 3, 224, 224), label_flat (b * A,): record i * A + a is image i of attribute a, absent for
                even i, present for odd i, cropped and mirrored by the same endless plan as the stream: all images of a
                class occur once, then all of them again in another order, cropped anew. In a folder with natural
                sampling, image i may be of either class
    TEST, top   data (b, 3, 224, 224), label_flat (b, A, 1, 1): centre patches of one split in order; the first follows
                the last
    blobs[0]    TRAIN: (4,), the number of batches delivered so far, in digits of base 2^16

    Batches depend only on the seed, the folder and their number, not on the number of workers. Give the blob
    `param { lr_mult: 0 decay_mult: 0 }`: snapshots then store it, and resumed training continues with the next batch.
    Give the layer a name that no layer of another net has, such as balanced_data, because Caffe copies blobs by name.

    param_str, JSON: see Parameters.

    Raises ValueError for wrong parameters, PrefetchError for an unreadable face.
    """

    supports_tensors = True

    @logs_errors
    def setup(self, bottom, top):
        check_count(self, "bottom", bottom, (0,), "none")
        check_count(self, "top", top, (2,), "data, label_flat")
        given = read_parameters(self, Parameters)
        self.split = given.split or SPLITS[int(self.phase)]
        self.folder = pathlib.Path(given.source)
        prepared, self.labels = read_folder(self.folder, self.split, given.attributes)
        attributes, self.frame = prepared.attributes, prepared.frame
        self.size = given.batch
        self.images = self.size
        if self.split == "train":
            if self.size % 2:
                raise ValueError(f"BalancedData: batch must be even, because half of it is positive, not {self.size}")
            settings = prepared.settings
            seed = settings.seed if given.seed is None else given.seed
            self.plan = Plan(self.labels, attributes, seed, given.augment or settings.augment, settings.sampling)
            self.images *= len(attributes)
            self.blobs.add_blob(DIGITS)
            self.blobs[0].data[...] = 0
        self.position = self.next = 0
        self.ahead, self.workers = given.ahead, given.workers
        self.pool, self.wait_for_copy = None, lambda: None

    @logs_errors
    def reshape(self, bottom, top):
        top[0].reshape(self.images, 3, PATCH_SIZE, PATCH_SIZE)
        if self.split == "train":
            top[1].reshape(self.images)
        else:
            top[1].reshape(self.images, self.labels.shape[1], 1, 1)

    def samples(self, number):
        """The samples of batch `number`, (images,) of SAMPLE. Several solvers take alternating batches."""
        if self.split == "train":
            return self.plan.batch(number * caffe.solver_count() + caffe.solver_rank(), self.size)
        samples = np.zeros(self.images, SAMPLE)
        samples["image"] = np.arange(number * self.images, (number + 1) * self.images) % len(self.labels)
        return samples

    @logs_errors
    def forward(self, bottom, top):
        if self.pool is None:  # not in setup, because BVLC Caffe never releases a Python layer, nor then its workers
            path = self.folder / f"{self.split}_images"
            self.pool = Pool(path, self.images, self.workers, self.ahead, self.frame)
            weakref.finalize(self.pool, arrays.lock_pages(self.pool.pixels, top[0].data))
        if self.split == "train":
            position = from_digits(self.blobs[0].data.tolist())
            if position != self.position:  # a snapshot was restored
                self.pool.forget()
                self.position = self.next = position
        self.wait_for_copy()
        while len(self.pool) <= self.ahead:
            self.pool.ask(self.samples(self.next))
            self.next += 1
        samples, pixels = self.pool.take()
        labels = samples["label"] if self.split == "train" else self.labels[samples["image"], :, None, None]
        self.wait_for_copy = arrays.fill(top[0].data, pixels)
        arrays.fill(top[1].data, labels.astype(np.float32))
        self.position += 1
        if self.split == "train":
            arrays.fill(self.blobs[0].data, to_digits(self.position))

    def backward(self, top, propagate_down, bottom):
        pass
