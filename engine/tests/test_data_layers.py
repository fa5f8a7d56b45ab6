"""Layers that bring data, against a real Caffe on the same databases and files."""

import threading

import caffe
import cv2
import h5py
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from parity import build, layer

COUNT = 7


def write(folder, datums):
    """An LMDB of these Datum messages."""
    with lmdb.open(str(folder), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        for number, datum in enumerate(datums):
            transaction.put(f"{number:08d}".encode(), datum.SerializeToString())
    return folder


def images(channels=3, size=(9, 11)):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, channels)).astype(np.uint8) for _ in range(COUNT)]


def encoded(image, label=0, ending=".png"):
    return caffe_pb2.Datum(data=cv2.imencode(ending, image)[1].tobytes(), encoded=True, label=label)


def jpeg(image, label):
    return encoded(cv2.resize(image, (40, 32), interpolation=cv2.INTER_CUBIC), label, ".jpg")


def raw(image, label=0):
    height, width, channels = image.shape
    data = image.transpose(2, 0, 1).tobytes()
    return caffe_pb2.Datum(channels=channels, height=height, width=width, data=data, label=label)


def floats(image, label):
    datum = raw(image, label)
    datum.float_data.extend((image.transpose(2, 0, 1) / 7).ravel().tolist())
    datum.ClearField("data")
    return datum


def net_text(source, batch=3, transform="", tops="x t"):
    body = f'transform_param {{ {transform} }} data_param {{ source: "{source}" backend: LMDB batch_size: {batch} }}'
    return layer("Data", "", tops, body)


def batches(net, count=3):
    """The blobs of a net in some passes: each as one array with an axis for the passes."""
    found = {name: [] for name in net.blobs}
    for _ in range(count):
        net.forward()
        for name, blob in net.blobs.items():
            found[name].append(blob.data.copy())
    return {name: np.array(arrays) for name, arrays in found.items()}


@pytest.mark.parametrize(
    "make, channels, transform, phase",
    [
        (raw, 3, "", caffe.TRAIN),
        (raw, 3, "scale: 0.5 mean_value: 10 mean_value: 20.5 mean_value: 3", caffe.TEST),
        (raw, 3, "crop_size: 6 mean_value: 10", caffe.TEST),
        (raw, 3, 'crop_size: 6 mean_file: "MEAN" scale: 2', caffe.TEST),
        (raw, 1, "scale: 0.00390625", caffe.TRAIN),
        (raw, 20, "", caffe.TEST),
        (floats, 3, "mean_value: 10", caffe.TEST),
        (floats, 3, 'mean_file: "MEAN"', caffe.TEST),
        (encoded, 3, "", caffe.TRAIN),
        (encoded, 3, 'crop_size: 7 mean_file: "MEAN"', caffe.TEST),
        (encoded, 3, "force_gray: true", caffe.TEST),
        (encoded, 1, "force_color: true", caffe.TEST),
        (encoded, 1, "", caffe.TEST),
        (jpeg, 3, "", caffe.TEST),
    ],
)
def test_data_layer_gives_what_caffe_gives(make, channels, transform, phase, alike, tmp_path):
    """Over the end of the database and on from its beginning."""
    source = write(tmp_path / "db", map(make, images(channels), range(COUNT)))
    mean = caffe_pb2.BlobProto(channels=3, height=9, width=11, num=1)
    mean.data.extend(np.random.default_rng(1).uniform(0, 255, 3 * 9 * 11).tolist())
    (tmp_path / "mean").write_bytes(mean.SerializeToString())
    text = net_text(source, transform=transform.replace("MEAN", str(tmp_path / "mean")))
    decoders = 1e-2 if make is jpeg else 1e-6  # by which decoders of JPEG differ
    alike(text, phase=phase, passes=3, backward="", forward=decoders)
    assert batches(caffe.Net(str(tmp_path / "net.prototxt"), phase))["t"].tolist() == [[0, 1, 2], [3, 4, 5], [6, 0, 1]]


def test_crops_and_mirrors_in_training_are_uniform(tmp_path):
    """Every place, both sides, about equally often; the same seed draws the same."""
    ramp = np.tile(np.arange(99).reshape(9, 11, 1), (1, 1, 3)).astype(np.uint8)
    write(tmp_path / "db", [raw(ramp)] * 4)
    text, drawn = net_text(tmp_path / "db", 200, "crop_size: 7 mirror: true", "x"), []
    for _ in range(2):
        caffe.set_random_seed(3)
        drawn.append(batches(build(tmp_path, text, caffe.TRAIN), count=2)["x"])
    np.testing.assert_array_equal(*drawn)
    x = drawn[0].reshape(400, 3, 7, 7)[:, 0]
    mirrored = x[:, 0, 0] > x[:, 0, 1]
    corner = np.where(mirrored, x[:, 0, -1], x[:, 0, 0]).astype(int)
    assert 0.4 < mirrored.mean() < 0.6
    places, counts = np.unique(corner, return_counts=True)
    assert len(places) == 3 * 5 and counts.min() > 8
    for image, flip, (row, column) in zip(x, mirrored, zip(*divmod(corner, 11))):
        expected = ramp[row : row + 7, column : column + 7, 0]
        np.testing.assert_array_equal(image, expected[:, ::-1] if flip else expected)


def test_every_rank_reads_its_own_records(tmp_path):
    write(tmp_path / "db", map(raw, images(), range(COUNT)))
    caffe.set_solver_count(2)
    for shard, rank, expected in (
        ("records", 0, [[0, 2], [4, 6], [1, 3]]),
        ("records", 1, [[1, 3], [5, 0], [2, 4]]),
        ("batches", 0, [[0, 1], [4, 5], [1, 2]]),
    ):
        caffe.set_shard(shard)
        caffe.set_solver_rank(rank)
        for phase, labels in ((caffe.TRAIN, expected), (caffe.TEST, [[0, 1], [2, 3], [4, 5]])):  # tests see everything
            assert batches(build(tmp_path, net_text(tmp_path / "db", 2), phase))["t"].tolist() == labels


@pytest.mark.parametrize("other", (None, 1, 4), ids=("no other size", "in the first batch", "in a later batch"))
@pytest.mark.parametrize("transform", ("", "mean_value: 5 scale: 0.5 crop_size: 6", "mirror: true crop_size: 6"))
def test_a_data_set_that_fits_is_kept_decoded(transform, other, alike, tmp_path):
    """The reader then ends after the first pass. Images of different sizes are cropped as without, and not kept."""
    source, phase = images(), caffe.TRAIN if "mirror" in transform else caffe.TEST
    if other:
        source[other] = images(size=(12, 8))[other]
        transform = transform or "crop_size: 6"
    text = net_text(write(tmp_path / "db", map(encoded, source, range(COUNT))), transform=transform)
    found = []
    for budget in (0, 1 << 20, 1000):
        caffe.set_decoded_budget(budget)
        caffe.set_random_seed(5)
        net = build(tmp_path, text, phase)
        found.append(batches(net, count=6))
        loader, fits = net.layers[0].loader, budget == 1 << 20 and other is None
        assert (loader.cache is not None and loader.cache.complete()) == fits == loader.stopped.is_set()
    plain, kept, small = found
    np.testing.assert_equal(small, plain)
    if phase == caffe.TEST:
        np.testing.assert_equal(kept, plain)
        alike(text, passes=6, backward="", forward=0)
    np.testing.assert_array_equal(kept["t"], plain["t"])
    assert (kept["x"].shape, kept["x"][:2].tolist()) == (plain["x"].shape, plain["x"][:2].tolist())


def test_readers_end_with_their_net(tmp_path):
    def readers():
        return [thread for thread in threading.enumerate() if thread.name == "caffe data reader"]

    net = build(tmp_path, net_text(write(tmp_path / "db", map(encoded, images()))))
    net.forward()
    (reader,) = readers()
    del net
    reader.join(10)
    assert not readers()


@pytest.mark.parametrize(
    "datums, words",
    [
        ([caffe_pb2.Datum(data=b"no image", encoded=True)], "cannot be decoded"),
        ([raw(images()[0]), raw(images(size=(5, 5))[0]), raw(images()[0])], "differ in height"),
        ([caffe_pb2.Datum(channels=3, height=2, width=2, data=b"abc")], "holds 3 numbers"),
        ([], "empty"),
        (map(raw, images(size=(90, 110))), "damaged LMDB, cut short"),
    ],
)
def test_damaged_records_are_errors_that_name_the_database(datums, words, tmp_path):
    """Of a file that is cut short, LMDB would read behind the end. tests/data/test_store.py has other such damage."""
    file = write(tmp_path / "db", datums) / "data.mdb"
    if "short" in words:
        file.write_bytes(file.read_bytes()[:70000])
    with pytest.raises(caffe.CaffeError, match=f"/db.*{words}"):
        build(tmp_path, net_text(tmp_path / "db")).forward()


def test_hdf5_data(alike, tmp_path):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(7, 2, 3)).astype(np.float32), rng.normal(size=(7, 1)).astype(np.float32)
    for name, rows in (("0.h5", slice(0, 4)), ("1.h5", slice(4, 7))):
        with h5py.File(tmp_path / name, "w") as file:
            file["x"], file["t"] = x[rows], t[rows]
    (tmp_path / "list").write_text(f"{tmp_path}/0.h5\n{tmp_path}/1.h5\n")
    text = layer("HDF5Data", "", "x t", f'hdf5_data_param {{ source: "{tmp_path}/list" batch_size: 3 }}')
    alike(text, passes=3, backward="", forward=0)
    shuffled = batches(build(tmp_path, text.replace("batch_size: 3", "batch_size: 7 shuffle: true")), count=1)
    assert (shuffled["t"][0] != t).any()
    np.testing.assert_array_equal(np.sort(shuffled["x"].ravel()), np.sort(x.ravel()))
    with pytest.raises(caffe.CaffeError, match="no data set 'y'"):
        build(tmp_path, text.replace('top: "t"', 'top: "y"'))


def test_memory_data(tmp_path):
    body = "memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 }"
    net = build(tmp_path, layer("MemoryData", "", "x t", body))
    with pytest.raises(caffe.CaffeError, match="set_input_arrays"):
        net.forward()
    data, labels = np.arange(24, dtype=np.float32).reshape(4, 1, 2, 3), np.arange(4, dtype=np.float32)
    net.set_input_arrays(data, labels)
    found = batches(net)
    assert found["t"].tolist() == [[0, 1], [2, 3], [0, 1]]
    np.testing.assert_array_equal(found["x"], [data[:2], data[2:], data[:2]])
    for wrong, words in ((data[:3], "multiple of batch size"), (data.astype(float), "float32")):
        with pytest.raises(caffe.CaffeError, match=words):
            net.set_input_arrays(wrong, labels[: len(wrong)])


FILLERS = {  # fields, mean and standard deviation on a blob of 40 outputs with 30 x 3 x 3 inputs
    "constant": ("value: 0.25", 0.25, 0),
    "uniform": ("min: -1 max: 3", 1, 4 / np.sqrt(12)),
    "gaussian": ("mean: 1 std: 2", 1, 2),
    "xavier": ("", 0, np.sqrt(1 / 270)),
    "msra": ("variance_norm: FAN_OUT", 0, np.sqrt(2 / 360)),
    "positive_unitball": ("", 1 / 270, 1 / 270 / np.sqrt(3)),
}


def test_dummy_data_and_fillers(tmp_path):
    text, shape = "", "num: 40 channels: 30 height: 3 width: 3"
    for kind, (body, *_) in FILLERS.items():
        filler = f'data_filler {{ type: "{kind}" {body} }}'
        text += layer("DummyData", "", kind, f"dummy_data_param {{ {filler} {shape} }}", kind)
    found = batches(build(tmp_path, text), count=2)
    for kind, (_, mean, deviation) in FILLERS.items():
        size = abs(mean) + deviation
        np.testing.assert_allclose([found[kind].mean(), found[kind].std()], [mean, deviation], atol=0.03 * size)
        assert (found[kind][0] == found[kind][1]).all() == (kind == "constant")
    ball = found["positive_unitball"]
    np.testing.assert_allclose(ball.reshape(80, -1).sum(1), 1, rtol=1e-5)
    assert ball.min() >= 0 and abs(found["xavier"]).max() <= np.sqrt(3 / 270)


def test_bilinear_and_sparse_fillers(tmp_path):
    x = layer("Input", "", "x", "input_param { shape { dim: 1 dim: 4 dim: 3 dim: 3 } }", "in")
    body = "num_output: 4 group: 4 kernel_size: 4 stride: 2 pad: 1 weight_filler"
    text = x + layer("Deconvolution", "x", "up", f'convolution_param {{ {body} {{ type: "bilinear" }} }}', "up")
    row = np.array([1, 3, 3, 1]) / 4
    np.testing.assert_allclose(build(tmp_path, text).params["up"][0].data, np.tile(np.outer(row, row), (4, 1, 1, 1)))
    body = 'num_output: 2000 weight_filler { type: "gaussian" sparse: 200 }'
    net = build(tmp_path, x + layer("InnerProduct", "x", "y", f"inner_product_param {{ {body} }}", "ip"))
    assert 0.09 < (net.params["ip"][0].data != 0).mean() < 0.11
