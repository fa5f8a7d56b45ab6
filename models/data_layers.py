"""The data layers of the prototxts: BalancedData on the compact form, Data on the stream form, or an Input."""

from models import table1
from models.prototxt import banner, block, in_phase, layer, python, quoted, reshape


def data_layers(options):
    """Images and labels in both phases. Tops: data (images, 3, 224, 224), label (b, A), in TEST (images, A)."""
    count, batch = len(options.attributes), options.batch
    compact = options.form == "compact"
    text = banner(
        "data",
        f"TRAIN: {count} attributes x b = {batch} images{', cropped during training' if compact else ''}.",
        f"Record i * {count} + a is image i of attribute a; balanced: negative for even i, positive for odd i.",
        "TEST: every attribute sees every image.",
    )
    train, test = compact_layers(options) if compact else stream_layers(options)
    text += train + reshape("label", "label_flat", "label", batch, count, phase="TRAIN")
    return text + test + reshape("label", "label_flat", "label", 0, -1, phase="TEST")


def stream_layers(options):
    """The layers of TRAIN and of TEST with tops data and label_flat: Caffe's Data layer on LMDBs of the stream form."""
    count, batch = len(options.attributes), options.batch

    def source(name, size):
        place = quoted(f"{options.lmdb}/{name}")
        return block("data_param", f"source: {place}", "backend: LMDB", f"batch_size: {size}")

    train = f"{source('train', count * batch)}  # {count} * {batch}"
    images, labels = (source(f"val_{what}", options.test_batch) for what in ("images", "labels"))
    return (
        layer("data", "Data", [], ["data", "label_flat"], in_phase("TRAIN"), train),
        layer("data", "Data", [], ["data"], in_phase("TEST"), images)
        + layer("labels", "Data", [], ["label_flat"], in_phase("TEST"), labels),
    )


def compact_layers(options):
    """The same for the compact form. The names are in no other net, because Caffe copies blobs between equal names."""

    def source(name, phase, size, *body):
        parameters = {"source": options.lmdb, "batch": size}
        if phase == "TRAIN":
            parameters.update(seed=options.seed, attributes=list(options.attributes))
        tops = ["data", "label_flat"]
        return python(name, "balanced_data", "BalancedData", [], tops, parameters, in_phase(phase), *body)

    carried = "param { lr_mult: 0 decay_mult: 0 }  # batches delivered so far; resumed training takes the next"
    train = source("balanced_data", "TRAIN", options.batch, carried)
    return train, source("val_data", "TEST", options.test_batch)


def input_layer():
    size = table1.INPUT_SIZE
    shape = block("input_param", block("shape", "dim: 1", "dim: 3", f"dim: {size}", f"dim: {size}"))
    text = banner("input", "Centre patches of aligned faces: channels B G R, 0 to 255; any number of images.")
    return text + layer("data", "Input", [], ["data"], shape)
