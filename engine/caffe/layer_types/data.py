"""Layers that supply data: Data (LMDB), MemoryData, HDF5Data, DummyData."""

import pathlib
import weakref

import numpy as np
import torch

from .. import context, glog, hdf5
from ..errors import CaffeError, check
from ..fillers import fill
from ..loader import Loader
from ..proto import caffe_pb2
from ..records import open_database
from ..transform import Transformer
from .base import BuiltIn, register


class Source(BuiltIn):
    """Base of the data layers, which have no bottoms and no gradient."""

    bottoms = 0
    tops = (1, None)

    def seed(self):
        """A seed for the layer's random numbers, from those of caffe.set_random_seed."""
        return int(torch.randint(2**31 - 1, (), generator=context.generator()))


@register
class Data(Source):
    """Images (N, C, H, W) and labels (N,) of the Datum messages in an LMDB, in the order of the keys, pass after pass.

    With S solvers, solver r reads in TRAIN the records i with i mod S = r, as in BVLC Caffe, or with
    set_shard("batches") those batches. In TEST every solver reads all records.
    """

    tops = (1, 2)

    def setup(self, bottom, top):
        param = self.param.data_param
        self.check(param.batch_size > 0, "data_param.batch_size must be at least 1")
        self.check(
            param.backend == caffe_pb2.DataParameter.LMDB,
            "data_param.backend LEVELDB (the default) is not supported; use backend: LMDB",
        )
        self.transformer = Transformer(self.param.transform_param, self.phase, self.where, self.seed())
        database = open_database(param.source)
        skip = self.seed() % param.rand_skip if param.rand_skip else 0
        rank, ranks = context.ranks_of(self.phase)
        block = param.batch_size if context.state.shard == "batches" else 1
        _, image = database.image(next(database.records()), self.transformer.decode)
        self.loader = Loader(
            *(database, self.transformer, param.batch_size, param.prefetch, image),
            **{"skip": skip, "rank": rank, "ranks": ranks, "block": block, "budget": context.decoded_budget()},
        )
        weakref.finalize(self, self.loader.close)
        *_, height, width, _ = self.transformer.window((0, 0, False), image.shape)
        self.transformer.affine(image.shape[2])
        top[0].reshape(param.batch_size, image.shape[2], height, width)
        if len(top) > 1:
            top[1].reshape(param.batch_size)

    def forward(self, bottom, top):
        batch = self.loader.next()
        means, scale = self.transformer.affine(batch.images.shape[3])
        images = batch.images.float()
        if images.data_ptr() == batch.images.data_ptr():
            images = images.clone()
        if means is not None:
            images -= torch.tensor(means, device=images.device)
        if scale != 1:
            images *= scale
        images = images.permute(0, 3, 1, 2)
        top[0].reshape(*images.shape)
        top[0].put(images)
        if len(top) > 1:
            top[1].put(batch.labels.clone())


@register
class MemoryData(Source):
    """Images and labels that a script sets with Net.set_input_arrays, batch by batch, pass after pass."""

    tops = 2

    def setup(self, bottom, top):
        param = self.param.memory_data_param
        self.size = param.batch_size
        self.image = (param.channels, param.height, param.width)
        self.check(
            min(self.size, *self.image) > 0,
            "memory_data_param: batch_size, channels, height and width must be at least 1",
        )
        top[0].reshape(self.size, *self.image)
        top[1].reshape(self.size)
        self.data = None

    def set_arrays(self, data, labels):
        """Set data (N, C, H, W) and labels (N, 1, 1, 1), float32 and C-contiguous; N is a multiple of the batch size.

        Raises CaffeError.
        """
        for name, array in (("data", data), ("labels", labels)):
            self.check(array.dtype == np.float32, f"{name} array must be float32, not {array.dtype}")
            self.check(array.flags.c_contiguous, f"{name} array must be C contiguous")
            self.check(array.ndim == 4, f"{name} array must be 4-d, not {array.ndim}-d")
        self.check(data.shape[1:] == self.image, f"data array has images of shape {data.shape[1:]}, not {self.image}")
        self.check(labels[0].size == 1, "labels array has more than one number per row")
        self.check(len(data) == len(labels), "data and labels must have the same first dimension")
        self.check(
            len(data) and len(data) % self.size == 0,
            f"first dimensions of input arrays must be a multiple of batch size ({self.size}), not {len(data)}",
        )
        self.data, self.labels, self.position = torch.from_numpy(data), torch.from_numpy(labels).reshape(-1), 0

    def forward(self, bottom, top):
        self.check(self.data is not None, "MemoryData needs to be given its arrays by Net.set_input_arrays")
        part = slice(self.position, self.position + self.size)
        for blob, tensor in zip(top, (self.data, self.labels)):
            blob.put(tensor[part].clone().to(context.device()))
        self.position = part.stop % len(self.data)


@register
class HDF5Data(Source):
    """Rows of the data sets with the names of the tops, from the HDF5 files that the text file `source` lists.

    With `shuffle`, the order of the files, and of the rows in each of them, changes in every pass. Several solvers read
    rows alternately in TRAIN, as in BVLC Caffe.
    """

    def setup(self, bottom, top):
        param = self.param.hdf5_data_param
        self.check(not self.param.HasField("transform_param"), "HDF5Data does not transform data")
        self.check(param.batch_size > 0, "hdf5_data_param.batch_size must be at least 1")
        try:
            self.files = pathlib.Path(param.source).read_text().split()
        except OSError as error:
            raise CaffeError(f"{self.where}: {param.source}: {error.strerror}")
        self.check(self.files, f"{param.source} lists no HDF5 file")
        self.random = np.random.default_rng(self.seed())
        self.order = self.shuffled(len(self.files))
        self.file, self.row, self.read = 0, 0, 0
        self.load()
        for blob, array in zip(top, self.arrays):
            blob.reshape(param.batch_size, *array.shape[1:])

    def shuffled(self, count):
        """The numbers below `count`, in random order if the layer shuffles."""
        return self.random.permutation(count) if self.param.hdf5_data_param.shuffle else np.arange(count)

    def load(self):
        """Read the current file. Raises CaffeError."""
        path = self.files[self.order[self.file]]
        try:
            with hdf5.reading(path) as file:
                missing = [name for name in self.param.top if name not in file]
                check(not missing, f"{path} has no data set {missing[0] if missing else ''!r}")
                self.arrays = [np.asarray(hdf5.numbers(file, name, path), np.float32) for name in self.param.top]
        except CaffeError as error:
            raise CaffeError(f"{self.where}: {error}")
        self.check(all(array.ndim for array in self.arrays), f"{path}: a data set is a single number, not rows")
        counts = [len(array) for array in self.arrays]
        self.check(min(counts) == max(counts) > 0, f"{path}: data sets have {counts} rows")
        self.rows = self.shuffled(counts[0])

    def advance(self):
        """Go to the next row; after the last row of a file to the next file, and after the last file to the first."""
        self.row += 1
        if self.row < len(self.rows):
            return
        self.row = 0
        if len(self.files) == 1:
            self.rows = self.shuffled(len(self.rows))
            return
        self.file += 1
        if self.file == len(self.files):
            self.file, self.order = 0, self.shuffled(len(self.files))
            glog.info("Looping around to first file.")
        self.load()

    def forward(self, bottom, top):
        size, parts = self.param.hdf5_data_param.batch_size, []
        rank, ranks = context.ranks_of(self.phase)
        while len(parts) < size:
            if self.read % ranks == rank:
                row = self.rows[self.row]
                parts.append([array[row] for array in self.arrays])
            self.read += 1
            self.advance()
        for blob, rows in zip(top, zip(*parts)):
            blob.put(torch.from_numpy(np.stack(rows)).to(context.device()))


@register
class DummyData(Source):
    """Blobs filled by fillers: those of type constant once, others in every forward pass."""

    shares_tops = True

    def setup(self, bottom, top):
        param = self.param.dummy_data_param
        fillers = len(param.data_filler)
        self.check(
            fillers in (0, 1, len(top)), f"data_filler: give none, one, or one per top ({len(top)}), not {fillers}"
        )
        old = [param.num, param.channels, param.height, param.width]
        if param.shape:
            self.check(not any(old), "dummy_data_param: give shape, or num, channels, height and width, not both")
            shapes = [tuple(shape.dim) for shape in param.shape]
        else:
            right = all(len(sizes) in (1, len(top)) for sizes in old)
            self.check(right, f"num, channels, height, width: give one of each, or one per top ({len(top)})")
            shapes = list(zip(*([*sizes] * (len(top) // len(sizes)) for sizes in old)))
        self.check(len(shapes) in (1, len(top)), f"give one shape, or one per top ({len(top)}), not {len(shapes)}")
        constant = caffe_pb2.FillerParameter(type="constant")
        for index, blob in enumerate(top):
            blob.reshape(*shapes[index if len(shapes) > 1 else 0])
        self.fillers = [
            param.data_filler[index if fillers > 1 else 0] if fillers else constant for index in range(len(top))
        ]
        for blob, filler in zip(top, self.fillers):
            fill(blob, filler)

    def forward(self, bottom, top):
        for blob, filler in zip(top, self.fillers):
            if filler.type != "constant":
                fill(blob, filler)
