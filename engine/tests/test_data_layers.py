"""Layers that bring data, against a real Caffe on the same databases and files."""

import threading

import caffe
import cv2
import h5py
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from parity import build, relative

COUNT = 7


def write(folder, datums):
    """An LMDB of these Datum messages."""
    environment = lmdb.open(str(folder), map_size=1 << 26)
    with environment.begin(write=True) as transaction:
        for number, datum in enumerate(datums):
            transaction.put(f"{number:08d}".encode(), datum.SerializeToString())
    environment.close()
    return folder


def images(channels=3, size=(9, 11), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, channels)).astype(np.uint8) for _ in range(COUNT)]


def smooth(image):
    return cv2.resize(image, (40, 32), interpolation=cv2.INTER_CUBIC)


def encoded(image, ending=".png", label=0):
    return caffe_pb2.Datum(data=cv2.imencode(ending, image)[1].tobytes(), encoded=True, label=label)


def raw(image, label=0):
    height, width, channels = image.shape
    data = np.ascontiguousarray(image.transpose(2, 0, 1)).tobytes()
    return caffe_pb2.Datum(channels=channels, height=height, width=width, data=data, label=label)


def floats(image, label=0):
    datum = raw(image, label)
    datum.float_data.extend((image.transpose(2, 0, 1) / 7).ravel().tolist())
    datum.ClearField("data")
    return datum


MAKERS = {
    "raw": lambda: map(raw, images(), range(COUNT)),
    "raw grey": lambda: map(raw, images(1), range(COUNT)),
    "many channels": lambda: map(raw, images(20, (1, 1)), range(COUNT)),
    "floats": lambda: map(floats, images(), range(COUNT)),
    "png": lambda: map(encoded, images(), [".png"] * COUNT, range(COUNT)),
    "grey png": lambda: map(encoded, images(1), [".png"] * COUNT, range(COUNT)),
    "jpg": lambda: map(encoded, map(smooth, images()), [".jpg"] * COUNT, range(COUNT)),
}


def net_text(source, batch=3, transform="", extra="", tops='top: "x" top: "t"'):
    return (
        f'layer {{ name: "data" type: "Data" {tops} transform_param {{ {transform} }} '
        f'data_param {{ source: "{source}" backend: LMDB batch_size: {batch} {extra} }} }}'
    )


def batches(net, count=3):
    found = []
    for _ in range(count):
        net.forward()
        found.append([net.blobs[name].data.copy() for name in net.blobs])
    return found


BATCHES = """
net = caffe.Net(case["path"], case["phase"])
for number in range(3):
    net.forward()
    for name in net.blobs:
        result["%s%d" % (name, number)] = net.blobs[name].data.copy()
"""


@pytest.mark.parametrize(
    "kind, transform, phase",
    [
        ("raw", "", caffe.TRAIN),
        ("raw", "scale: 0.5 mean_value: 10 mean_value: 20.5 mean_value: 3", caffe.TEST),
        ("raw", "crop_size: 6 mean_value: 10", caffe.TEST),
        ("raw", 'crop_size: 6 mean_file: "MEAN" scale: 2', caffe.TEST),
        ("raw grey", "scale: 0.00390625", caffe.TRAIN),
        ("many channels", "", caffe.TEST),
        ("floats", "mean_value: 10", caffe.TEST),
        ("floats", 'mean_file: "MEAN"', caffe.TEST),
        ("png", "", caffe.TRAIN),
        ("png", 'crop_size: 7 mean_file: "MEAN"', caffe.TEST),
        ("png", "force_gray: true", caffe.TEST),
        ("grey png", "force_color: true", caffe.TEST),
        ("grey png", "", caffe.TEST),
        ("jpg", "", caffe.TEST),
    ],
)
def test_data_layer_gives_what_caffe_gives(kind, transform, phase, bvlc, tmp_path):
    """Over the end of the database and on from its beginning."""
    source = write(tmp_path / "db", MAKERS[kind]())
    mean = caffe_pb2.BlobProto(channels=3, height=9, width=11, num=1)
    mean.data.extend(np.random.default_rng(1).uniform(0, 255, 3 * 9 * 11).tolist())
    (tmp_path / "mean").write_bytes(mean.SerializeToString())
    text = net_text(source, transform=transform.replace("MEAN", str(tmp_path / "mean")))
    net = build(tmp_path, text, phase)
    expected, _ = bvlc.code(BATCHES, path=str(tmp_path / "net.prototxt"), phase=phase)
    for number, (x, t) in enumerate(batches(net)):
        decoders = 2 if kind == "jpg" else 1e-4  # by which decoders of JPEG differ
        np.testing.assert_allclose(x, expected[f"x{number}"], rtol=1e-6, atol=decoders)
        np.testing.assert_array_equal(t, expected[f"t{number}"])
    assert [int(label) for label in t] == [6, 0, 1]


def test_crops_and_mirrors_in_training_are_uniform(tmp_path):
    """Every place, both sides, about equally often; the same seed draws the same."""
    ramp = np.tile(np.arange(99).reshape(9, 11, 1), (1, 1, 3)).astype(np.uint8)
    write(tmp_path / "db", [raw(ramp)] * 4)
    text = net_text(tmp_path / "db", batch=200, transform="crop_size: 7 mirror: true", tops='top: "x"')
    first = []
    for _ in range(2):
        caffe.set_random_seed(3)
        first.append(batches(build(tmp_path, text, caffe.TRAIN), 2))
    np.testing.assert_array_equal(first[0][1][0], first[1][1][0])
    x = np.concatenate([first[0][0][0], first[0][1][0]])[:, 0]
    mirrored = x[:, 0, 0] > x[:, 0, 1]
    corner = np.where(mirrored, x[:, 0, -1], x[:, 0, 0])
    assert 0.4 < mirrored.mean() < 0.6
    places, counts = np.unique(corner, return_counts=True)
    assert len(places) == 3 * 5 and counts.min() > 8
    for image, flip, start in zip(x, mirrored, corner):
        row, column = divmod(int(start), 11)
        expected = ramp[row : row + 7, column : column + 7, 0]
        np.testing.assert_array_equal(image, expected[:, ::-1] if flip else expected)


def test_every_rank_reads_its_own_records(tmp_path):
    write(tmp_path / "db", MAKERS["raw"]())
    text = net_text(tmp_path / "db", batch=2)

    def found(phase):
        return [int(label) for _, t in batches(build(tmp_path, text, phase)) for label in t]

    caffe.set_solver_count(2)
    for shard, rank, expected in (
        ("records", 0, [0, 2, 4, 6, 1, 3]),
        ("records", 1, [1, 3, 5, 0, 2, 4]),
        ("batches", 0, [0, 1, 4, 5, 1, 2]),
    ):
        caffe.set_shard(shard)
        caffe.set_solver_rank(rank)
        assert found(caffe.TRAIN) == expected
        assert found(caffe.TEST) == [0, 1, 2, 3, 4, 5]  # tests see everything


@pytest.mark.parametrize("transform", ("", "crop_size: 6 mirror: true mean_value: 5 scale: 0.5"))
def test_a_data_set_that_fits_is_kept_decoded(transform, tmp_path):
    """The same batches as without, and the reader ends after the first pass."""
    write(tmp_path / "db", MAKERS["png"]())
    results = []
    for budget in (0, 1 << 20, 1000):
        caffe.set_decoded_budget(budget)
        caffe.set_random_seed(5)
        net = build(tmp_path, net_text(tmp_path / "db", transform=transform), caffe.TRAIN)
        results.append(batches(net, 6))
        loader, fits = net.layers[0].loader, budget == 1 << 20
        assert (loader.cache is not None and loader.cache.complete()) == fits == loader.stopped.is_set()
    for others in results[1:]:
        for (x, t), (y, u) in zip(results[0], others):
            np.testing.assert_array_equal(t, u)
            assert x.shape == y.shape
            if not transform:
                np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("other", (1, 4), ids=("in the first batch", "in a later batch"))
@pytest.mark.parametrize("phase, transform", [(caffe.TRAIN, "mirror: true"), (caffe.TEST, "mean_value: 5")])
def test_images_of_different_sizes_are_cropped_and_not_kept(phase, transform, other, bvlc, tmp_path):
    """With crop_size they form batches, with a budget for decoded images as without one, and as in BVLC Caffe."""
    source = images()
    source[other] = images(size=(12, 8))[other]
    write(tmp_path / "db", map(encoded, source, [".png"] * COUNT, range(COUNT)))
    text = net_text(tmp_path / "db", transform=f"crop_size: 6 {transform}")
    results = []
    for budget in (0, 1 << 20):
        caffe.set_decoded_budget(budget)
        caffe.set_random_seed(5)
        net = build(tmp_path, text, phase)
        results.append(batches(net, 6))
        assert net.layers[0].loader.cache is None
    np.testing.assert_equal(results[1], results[0])
    if phase == caffe.TEST:  # the crops of TRAIN are random
        expected, _ = bvlc.code(BATCHES, path=str(tmp_path / "net.prototxt"), phase=phase)
        for number, arrays in enumerate(results[1][:3]):
            for name, array in zip("xt", arrays):
                np.testing.assert_array_equal(array, expected[f"{name}{number}"])


def test_readers_end_with_their_net(tmp_path):
    def readers():
        return [thread for thread in threading.enumerate() if thread.name == "caffe data reader"]

    write(tmp_path / "db", MAKERS["png"]())
    net = build(tmp_path, net_text(tmp_path / "db"))
    net.forward()
    (reader,) = readers()
    del net
    reader.join(10)
    assert not readers()


@pytest.mark.parametrize(
    "datums, words",
    [
        ([caffe_pb2.Datum(data=b"no image", encoded=True)], "cannot be decoded"),
        ([raw(images()[0]), raw(images(size=(5, 5))[0]), raw(images()[0])], "differ in size"),
        ([caffe_pb2.Datum(channels=3, height=2, width=2, data=b"abc")], "holds 3 numbers"),
        ([], "empty"),
    ],
)
def test_damaged_records_are_errors_that_name_the_database(datums, words, tmp_path):
    write(tmp_path / "db", datums)
    with pytest.raises(caffe.CaffeError, match=words) as error:
        build(tmp_path, net_text(tmp_path / "db")).forward()
    assert "/db: " in str(error.value)


def test_a_damaged_database_is_an_error_and_not_the_end_of_the_process(tmp_path):
    """Reading behind the end of a mapped file, or of a page, would end in SIGBUS or SIGSEGV."""
    write(tmp_path / "db", [raw(image) for image in images(size=(90, 110))])
    file = tmp_path / "db/data.mdb"
    whole = file.read_bytes()
    for part in (0.3, 0.9):
        file.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(caffe.CaffeError, match="data.mdb: damaged LMDB, cut short"):
            build(tmp_path, net_text(tmp_path / "db"))
    for place in (10, 16 + 2):  # the kind of a page, the place of a record in it
        damaged = bytearray(whole)
        for page in range(2 * 4096, len(damaged), 4096):  # behind the two meta pages
            damaged[page + place : page + place + 2] = b"\xf1\x7f"
        file.write_bytes(damaged)
        with pytest.raises(caffe.CaffeError, match="damaged LMDB"):
            build(tmp_path, net_text(tmp_path / "db")).forward()


def test_hdf5_data(bvlc, tmp_path):
    rng = np.random.default_rng(0)
    for number, rows in enumerate((4, 3)):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["x"] = rng.normal(size=(rows, 2, 3)).astype(np.float32)
            file["t"] = rng.normal(size=(rows, 1)).astype(np.float32)
    (tmp_path / "list").write_text("".join(f"{tmp_path}/{number}.h5\n" for number in range(2)))
    text = (
        'layer { name: "data" type: "HDF5Data" top: "x" top: "t" '
        f'hdf5_data_param {{ source: "{tmp_path}/list" batch_size: 3 }} }}'
    )
    net = build(tmp_path, text)
    expected, _ = bvlc.code(BATCHES, path=str(tmp_path / "net.prototxt"), phase=caffe.TEST)
    for number, arrays in enumerate(batches(net)):
        for name, array in zip(("x", "t"), arrays):
            np.testing.assert_array_equal(array, expected[f"{name}{number}"])
    shuffled = build(tmp_path, text.replace("batch_size: 3", "batch_size: 7 shuffle: true"))
    x = batches(shuffled, 1)[0][0]
    everything = np.concatenate([h5py.File(tmp_path / f"{number}.h5")["x"][()] for number in range(2)])
    np.testing.assert_array_equal(np.sort(x.ravel()), np.sort(everything.ravel()))
    with pytest.raises(caffe.CaffeError, match="no data set 'y'"):
        build(tmp_path, text.replace('top: "t"', 'top: "y"'))


def test_memory_data(tmp_path):
    text = """layer { name: "data" type: "MemoryData" top: "x" top: "t"
              memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 } }"""
    net = build(tmp_path, text)
    with pytest.raises(caffe.CaffeError, match="set_input_arrays"):
        net.forward()
    data = np.arange(24, dtype=np.float32).reshape(4, 1, 2, 3)
    net.set_input_arrays(data, np.arange(4, dtype=np.float32))
    labels = [net.forward()["t"].tolist() for _ in range(3)]
    assert labels == [[0, 1], [2, 3], [0, 1]]
    np.testing.assert_array_equal(net.blobs["x"].data, data[:2])
    with pytest.raises(caffe.CaffeError, match="multiple of batch size"):
        net.set_input_arrays(data[:3], np.arange(3, dtype=np.float32))
    with pytest.raises(caffe.CaffeError, match="float32"):
        net.set_input_arrays(data.astype(float), np.arange(4, dtype=np.float32))


def test_dummy_data_and_fillers(tmp_path):
    """Statistics of every filler on a blob of 40 outputs with 30 x 3 x 3 inputs."""
    fillers = {
        "constant": "value: 0.25",
        "uniform": "min: -1 max: 3",
        "gaussian": "mean: 1 std: 2",
        "xavier": "",
        "msra": "variance_norm: FAN_OUT",
        "positive_unitball": "",
    }
    text = "".join(
        f'layer {{ name: "{kind}" type: "DummyData" top: "{kind}" dummy_data_param {{ '
        f'data_filler {{ type: "{kind}" {body} }} num: 40 channels: 30 height: 3 width: 3 }} }}\n'
        for kind, body in fillers.items()
    )
    caffe.set_random_seed(1)
    net = build(tmp_path, text)
    found = {name: array.copy() for name, array in net.forward().items()}
    moments = {
        "constant": (0.25, 0),
        "uniform": (1, 4 / np.sqrt(12)),
        "gaussian": (1, 2),
        "xavier": (0, np.sqrt(1 / 270)),
        "msra": (0, np.sqrt(2 / 360)),
    }
    for name, (mean, deviation) in moments.items():
        np.testing.assert_allclose([found[name].mean(), found[name].std()], [mean, deviation], atol=0.03)
    ball = found["positive_unitball"]
    np.testing.assert_allclose(ball.reshape(40, -1).sum(1), 1, rtol=1e-5)
    assert (ball >= 0).all()
    again = net.forward()
    assert (again["constant"] == found["constant"]).all() and (again["uniform"] != found["uniform"]).any()
    limit = np.sqrt(3 / 270)
    assert abs(found["xavier"]).max() <= limit


def test_bilinear_and_sparse_fillers(bvlc, tmp_path):
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 dim: 3 dim: 3 } } }
    layer { name: "up" type: "Deconvolution" bottom: "x" top: "up" convolution_param { num_output: 4 group: 4
            kernel_size: 4 stride: 2 pad: 1 weight_filler { type: "bilinear" } } }"""
    result, _ = bvlc.net(text, {"x": np.ones((1, 4, 3, 3), np.float32)}, backward=None)
    net = build(tmp_path, text)
    assert relative(net.params["up"][0].data, result["param/up/0"]) < 1e-6
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 100 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 200
            weight_filler { type: "gaussian" sparse: 20 } } }"""
    kept = (build(tmp_path, text).params["ip"][0].data != 0).mean()
    assert 0.08 < kept < 0.12
