"""Write the prototxts of the three networks, and solver files that point at them.

    python -m models.generate                                # models/*/: the paper's twenty attributes
    python -m models.generate --attributes Eyeglasses,Male --batch 8 --lmdb build/lmdb --out build/run

The first form rewrites the committed files. The second writes OUT/{region,cascade,whole_face}/ with
train_val.prototxt, deploy.prototxt and solver.prototxt for any attributes: the solver is the one in
solver/ with its net, its snapshots' place and the values given by --solver changed.

What differs between the networks: `region` is task one alone, `cascade` both tasks, `whole_face` task two on
the whole map (the paper's ablation). Layers of the same name have the same weights in all three.
"""

import argparse
import json
import pathlib
import re
import sys

from data_prep.attributes import CELEBA_ATTRIBUTES, PAPER_ATTRIBUTES
from data_prep.store import manifest
from models import table1

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
NETS = ("region", "cascade", "whole_face")
L1_FORMS = ("log", "linear")


class Options:
    """What the networks leave open. Raises ValueError for a value that no network can have.

    attributes: names, one group of every branch each, in this order
    batch: b, training images per attribute in one batch; even, half of them positive
    lmdb: folder with train, val_images and val_labels
    l1: form of eq. 1, "log" (cross-entropy of the largest response) or "linear" (as printed)
    alpha, beta: weights of the two tasks' losses, eq. 6
    threshold: response above which a point belongs to the region (section 3.2)
    average_weight: share of the average response in the revised response; 0 = no revision
    roi_gradient: "none" (thresholding has zero gradient) or "soft" (an estimate, see RegionMapper)
    early_stopping_range: loss range in which training has settled; 0 = no early stopping
    test_batch: images per batch in the TEST phase
    form: of the training data in lmdb, "stream" (stock Data layers) or "compact" (BalancedData)
    """

    def __init__(
        self,
        attributes=PAPER_ATTRIBUTES,
        batch=4,
        lmdb="data/lmdb",
        l1="log",
        alpha=1.0,
        beta=1.0,
        threshold=0.5,
        average_weight=0.5,
        roi_gradient="none",
        early_stopping_range=0.1,
        test_batch=20,
        form="stream",
    ):
        attributes = tuple(attributes)
        unknown = [name for name in attributes if name not in CELEBA_ATTRIBUTES]
        if unknown or not attributes or len(set(attributes)) != len(attributes):
            what = f"unknown attribute {unknown[0]!r}" if unknown else "no attribute, or one named twice"
            raise ValueError(f"attributes: {what}; known are {', '.join(CELEBA_ATTRIBUTES)}")
        if batch < 2 or batch % 2:
            raise ValueError(f"batch: b = {batch} is not an even number >= 2; half of b is positive")
        if l1 not in L1_FORMS:
            raise ValueError(f"l1: {l1!r} is none of {', '.join(L1_FORMS)}")
        if roi_gradient not in ("none", "soft"):
            raise ValueError(f"roi_gradient: {roi_gradient!r} is none of none, soft")
        if form not in manifest.FORMS:
            raise ValueError(f"form: {form!r} is none of {', '.join(manifest.FORMS)}")
        self.attributes = attributes
        self.batch = batch
        self.lmdb = lmdb
        self.l1 = l1
        self.alpha = alpha
        self.beta = beta
        self.threshold = threshold
        self.average_weight = average_weight
        self.roi_gradient = roi_gradient
        self.early_stopping_range = early_stopping_range
        self.test_batch = test_batch
        self.form = form


def number(value):
    """A number as prototxts print it."""
    return f"{value:g}"


def layer(name, kind, bottoms, tops, *body):
    """The text of one layer; `body` holds further fields, one a line."""
    lines = [f'name: "{name}"', f'type: "{kind}"']
    lines += [f'bottom: "{bottom}"' for bottom in bottoms]
    lines += [f'top: "{top}"' for top in tops]
    lines += [line for part in body for line in part.splitlines()]
    return "layer {\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def banner(*lines):
    """A heading in the prototxt."""
    head, *rest = lines
    return f"\n#---- {head} ".ljust(100, "-") + "\n" + "".join(f"# {line}\n" for line in rest)


def block(name, *fields):
    """A nested message, one line."""
    return f"{name} {{ {' '.join(fields)} }}"


def in_phase(phase):
    return block("include", f"phase: {phase}")


def convolution(row, bottom, groups=1, filler='type: "msra"', relu=True, rate=1):
    """A row of table 1 as a (grouped) Convolution, with its ReLU; learning rate times `rate`."""
    shape = [f"num_output: {row.channels * groups}"]
    if groups > 1:
        shape[0] += f"  # {groups} attributes x {row.channels}"
        shape.append(f"group: {groups}")
    shape.append(f"kernel_size: {row.kernel}")
    if row.stride != 1:
        shape.append(f"stride: {row.stride}")
    if row.padding:
        shape.append(f"pad: {row.padding}")
    shape += [block("weight_filler", filler), block("bias_filler", 'type: "constant"')]
    inner = "convolution_param {\n" + "".join(f"  {line}\n" for line in shape) + "}"
    rates = [f"param {{ lr_mult: {rate} decay_mult: 1 }}", f"param {{ lr_mult: {2 * rate} decay_mult: 0 }}"]
    text = layer(row.name, "Convolution", [bottom], [row.name], *rates, inner)
    if relu:
        text += layer(f"relu_{row.name}", "ReLU", [row.name], [row.name])
    return text


def reshape(name, bottom, top, *dims, phase=None):
    body = [block("reshape_param", block("shape", *(f"dim: {d}" for d in dims)))]
    if phase:
        body.insert(0, in_phase(phase))
    return layer(name, "Reshape", [bottom], [top], *body)


def global_max(name, bottom, top):
    return layer(name, "Pooling", [bottom], [top], block("pooling_param", "pool: MAX", "global_pooling: true"))


def python(name, module, cls, bottoms, tops, parameters, *body):
    fields = (f'module: "python_layers.{module}"', f'layer: "{cls}"', f"param_str: '{json.dumps(parameters)}'")
    inner = "python_param {\n" + "".join(f"  {field}\n" for field in fields) + "}"
    return layer(name, "Python", bottoms, tops, *body, inner)


def data_layers(options):
    """Images and labels of both phases: blobs data and label."""
    if options.form == "compact":
        return compact_data_layers(options)
    count, batch = len(options.attributes), options.batch

    def source(name, size):
        return block("data_param", f'source: "{options.lmdb}/{name}"', "backend: LMDB", f"batch_size: {size}")

    text = banner(
        "data",
        f"TRAIN: {count} attributes x b = {batch} images, record i * {count} + a is image i of attribute a,",
        "negatives (even i) and positives (odd i) in turn. TEST: every image serves every attribute.",
    )
    train = f"{source('train', count * batch)}  # {count} * {batch}"
    text += layer("data", "Data", [], ["data", "label_flat"], in_phase("TRAIN"), train)
    text += reshape("label", "label_flat", "label", batch, count, phase="TRAIN")
    images = source("val_images", options.test_batch)
    text += layer("data", "Data", [], ["data"], in_phase("TEST"), images)
    labels = source("val_labels", options.test_batch)
    text += layer("labels", "Data", [], ["label_flat"], in_phase("TEST"), labels)
    text += reshape("label", "label_flat", "label", 0, -1, phase="TEST")
    return text


def compact_data_layers(options):
    """The same blobs from the compact form. No layer of another net has these names: Caffe copies blobs by name."""
    count, batch = len(options.attributes), options.batch

    def source(name, phase, size, *body):
        parameters = {"source": options.lmdb, "batch": size}
        tops = ["data", "label_flat"]
        return python(name, "balanced_data", "BalancedData", [], tops, parameters, in_phase(phase), *body)

    text = banner(
        "data",
        f"TRAIN: {count} attributes x b = {batch} images drawn on the fly, i * {count} + a is image i of attribute a,",
        "negatives (even i) and positives (odd i) in turn. TEST: every image serves every attribute.",
    )
    carried = "param { lr_mult: 0 decay_mult: 0 }  # batches given, so that a resumed training goes on with the next"
    text += source("balanced_data", "TRAIN", batch, carried)
    text += reshape("label", "label_flat", "label", batch, count, phase="TRAIN")
    text += source("val_data", "TEST", options.test_batch)
    return text + reshape("label", "label_flat", "label", 0, -1, phase="TEST")


def input_layer():
    size = table1.INPUT_SIZE
    shape = block("input_param", block("shape", "dim: 1", "dim: 3", f"dim: {size}", f"dim: {size}"))
    text = banner("input", "Faces as they are: channels B G R, 0 to 255; any number of images.")
    return text + layer("data", "Input", [], ["data"], shape)


def trunk(options, deploy):
    """Rows conv1 to conv3: blob conv3, (images, A * 384, 13, 13)."""
    count, batch = len(options.attributes), options.batch
    text = banner(
        "shared by all attributes",
        "(x - 112) / 64 centres CelebA's pixels (mean 112 over all channels) and scales them to about 1.",
    )
    text += layer("normalise", "Power", ["data"], ["pixels"], block("power_param", "scale: 0.015625", "shift: -1.75"))
    bottom = "pixels"
    for row in table1.SHARED:
        if row.name.startswith("pool"):
            size = block("pooling_param", "pool: MAX", f"kernel_size: {row.kernel}", f"stride: {row.stride}")
            text += layer(row.name, "Pooling", [bottom], [row.name], size)
        else:
            text += convolution(row, bottom)
        bottom = row.name
    channels, size = table1.SHARED[-1].channels, table1.SHARED[-1].output
    text += banner("one group of channels per attribute", f"{count} attributes: " + ", ".join(options.attributes))
    tile = block("tile_param", "axis: 1", f"tiles: {count}")
    if deploy:
        text += layer("per_attribute", "Tile", ["pool2"], ["per_attribute"], tile)
    else:
        dims = (batch, count * channels, size, size)
        text += reshape("per_attribute", "pool2", "per_attribute", *dims, phase="TRAIN")
        text += layer("per_attribute", "Tile", ["pool2"], ["per_attribute"], in_phase("TEST"), tile)
    return text + convolution(table1.CONV3, "per_attribute", count)


def task_one(options):
    """Rows conv4 to conv7 and the response map: blobs conv7, d, max_d."""
    count, size = len(options.attributes), table1.RESPONSE_SIZE
    text = banner("task one: where (section 3.2)")
    bottom = "conv3"
    for row in table1.TASK_ONE[:-1]:
        text += convolution(row, bottom, count)
        bottom = row.name
    # Small first scores: the largest of sixteen would otherwise begin far above zero.
    text += convolution(table1.TASK_ONE[-1], bottom, count, 'type: "gaussian" std: 0.02', relu=False)
    text += banner("response map", "d = score present - score absent per point; max_d is its largest.")
    text += reshape("pair", "conv7", "pair", 0, count, 2, -1)
    text += layer("scores", "Slice", ["pair"], ["absent", "present"], block("slice_param", "axis: 2"))
    minus = block("eltwise_param", "operation: SUM", "coeff: 1", "coeff: -1")
    text += layer("difference", "Eltwise", ["present", "absent"], ["d_flat"], minus)
    text += reshape("d", "d_flat", "d", 0, count, size, size)
    text += global_max("pool_d", "d", "max_d_map")
    return text + reshape("max_d", "max_d_map", "max_d", 0, count)


def region(options, deploy):
    """Response map to region: blobs response, rois (and rois_image for drawing)."""
    parameters = {"threshold": options.threshold, "average_weight": options.average_weight}
    if options.roi_gradient != "none":
        parameters["gradient"] = options.roi_gradient
    tops = ["rois"]
    if deploy:
        tops.append("rois_image")
    carried = "param { lr_mult: 0 decay_mult: 0 }"
    body = [
        f"{carried}  # average response, written by tools/train/average_region.py",
        f"{carried}  # rectangle of each response point",
    ]
    if options.roi_gradient == "none":
        body.append("propagate_down: false  # thresholding has zero gradient")
    return (
        banner("region: rectangle round the response points above the threshold (section 3.2)")
        + layer("response", "Sigmoid", ["d"], ["response"])
        + python("region_mapper", "region_mapper", "RegionMapper", ["response"], tops, parameters, *body)
    )


def task_two(options, rois, rate):
    """RoI warp, rows conv4-t2 to conv6-t2: blob max_conv6-t2."""
    count = len(options.attributes)
    text = banner("task two: what (section 3.3)")
    text += python("roi_warp", "roi_warp", "RoIWarp", ["conv3", *rois], ["roi"], {"warp": 10, "pool": 2})
    bottom = "roi"
    for row in table1.TASK_TWO[:-1]:
        text += convolution(row, bottom, count, rate=rate)
        bottom = row.name
    text += convolution(table1.TASK_TWO[-1], bottom, count, 'type: "gaussian" std: 0.02', relu=False, rate=rate)
    last = table1.TASK_TWO[-1].name
    return text + global_max("pool_t2", last, f"max_{last}")


def head(options, with_task_one, rate):
    """Per attribute, the outputs of the tasks times weights plus bias: blob logits, (images, A)."""
    count = len(options.attributes)
    numbers, bottom = 1, "max_conv6-t2"
    notes = ["Largest scores of the tasks as one vector per attribute, weighted."]
    if with_task_one:
        notes.append("Equal first weights, and the score of absence negated: f starts from what task one has learned.")
    text = banner("head: f(x), eq. 4", *notes)
    if with_task_one:
        numbers, bottom = 3, "vector"
        text += global_max("pool_conv7", "conv7", "max_conv7")
        text += reshape("vector_one", "max_conv7", "vector_one", 0, count, 2, 1)
        text += layer(
            "vector_slice", "Slice", ["vector_one"], ["max_absent", "max_present"], block("slice_param", "axis: 2")
        )
        text += layer("minus_absent", "Power", ["max_absent"], ["minus_absent"], block("power_param", "scale: -1"))
        text += reshape("vector_two", "max_conv6-t2", "vector_two", 0, count, 1, 1)
        concat = block("concat_param", "axis: 2")
        text += layer("concat", "Concat", ["minus_absent", "max_present", "vector_two"], ["vectors"], concat)
        text += reshape("vector", "vectors", "vector", 0, count * numbers, 1, 1)
    row = table1.Row("head" if with_task_one else "head_whole", 1, 1, 1, 0, 1)
    text += convolution(row, bottom, count, 'type: "constant" value: 0.5', relu=False, rate=rate)
    return text + reshape("logits", row.name, "logits", 0, count)


def early_stopping(options, scores, forms):
    parameters = {"range": options.early_stopping_range}
    if forms != ["log"] * len(forms):
        parameters["forms"] = forms
    carried = "param { lr_mult: 0 decay_mult: 0 }  # "
    return python(
        "early_stopping",
        "early_stopping",
        "EarlyStopping",
        [*scores, "label"],
        [*(f"{score}_training" for score in scores), "attributes_training", "attributes_training_each"],
        parameters,
        *(f"{carried}{what}" for what in ("window of losses", "epsilon, losses seen, batches gated")),
        *("propagate_down: true" for _ in scores),
        "propagate_down: false",
    )


def accuracy(score, name, options):
    """Share of right decisions at score > 0 in the TEST phase: blobs `name` of all, `name`_each per attribute."""
    test, count = in_phase("TEST"), len(options.attributes)
    present, miss, missed, right, faces = (f"{name}_{what}" for what in ("present", "miss", "missed", "right", "faces"))
    minus = block("eltwise_param", "operation: SUM", "coeff: 1", "coeff: -1")
    mean = block("pooling_param", "pool: AVE", f"kernel_h: {options.test_batch}", "kernel_w: 1")
    return (
        layer(present, "Threshold", [score], [present], test)
        + layer(miss, "Eltwise", [present, "label"], [miss], test, minus)
        + layer(missed, "AbsVal", [miss], [missed], test)
        + layer(right, "Power", [missed], [right], test, block("power_param", "scale: -1", "shift: 1"))
        + layer(name, "Reduction", [right], [name], test, block("reduction_param", "operation: MEAN"))
        + reshape(faces, right, faces, 1, 1, -1, count, phase="TEST")
        + layer(f"{name}_each", "Pooling", [faces], [f"{name}_each"], test, mean)
    )


def loss_one(options):
    """Eq. 1 on max_d; like Caffe's SigmoidCrossEntropyLoss a mean over images and a sum over attributes."""
    score, weight = "max_d_training", f"loss_weight: {number(options.alpha)}  # alpha, eq. 6"
    if options.l1 == "log":
        return layer("loss_region", "SigmoidCrossEntropyLoss", [score, "label"], ["loss_region"], weight)
    minus = block("eltwise_param", "operation: SUM", "coeff: 1", "coeff: -1")
    # Mean over images, sum over attributes, like the log form.
    mean = block("reduction_param", "operation: MEAN", f"coeff: {len(options.attributes)}")
    return (
        layer("max_r", "Sigmoid", [score], ["max_r"])
        + layer("miss", "Eltwise", ["label", "max_r"], ["miss"], minus)
        + layer("miss_size", "AbsVal", ["miss"], ["miss_size"])
        + layer("loss_region", "Reduction", ["miss_size"], ["loss_region"], mean, weight)
    )


def loss_two(options):
    """Eq. 4 on the logits."""
    weight = f"loss_weight: {number(options.beta)}  # beta, eq. 6"
    bottoms = ["logits_training", "label"]
    return layer("loss_attribute", "SigmoidCrossEntropyLoss", bottoms, ["loss_attribute"], weight)


def losses(net, options):
    """Early stopping, the losses and, in TEST, the accuracies."""
    text = banner("losses (eq. 1, 4, 6), behind early stopping (section 3.4.2)")
    parts = {
        "region": (["max_d"], [options.l1]),
        "cascade": (["logits", "max_d"], ["log", options.l1]),
        "whole_face": (["logits"], ["log"]),
    }
    scores, forms = parts[net]
    text += early_stopping(options, scores, forms)
    if "max_d" in scores:
        text += loss_one(options) + accuracy("max_d", "accuracy_region", options)
    if "logits" in scores:
        text += loss_two(options) + accuracy("logits", "accuracy_attribute", options)
    return text


def outputs(net):
    """Probabilities, in deploy nets."""
    text = banner("answers")
    if net != "whole_face":
        text += layer("region_prob", "Sigmoid", ["max_d"], ["region_prob"])
    if net != "region":
        text += layer("prob", "Sigmoid", ["logits"], ["prob"])
    return text


TITLES = {
    "region": "Task one alone: a fully convolutional network finds where an attribute shows.",
    "cascade": "The cascade: task one finds the region, task two recognises the attribute on it.",
    "whole_face": "Ablation: task two on the whole map, no region (4, second experiment).",
}


def network(net, options, deploy=False):
    """The text of one network's train_val or deploy prototxt.

    net: "region", "cascade" or "whole_face"
    """
    text = f"# {TITLES[net]}\n# Written by models/generate.py from table 1; change that, not this.\n"
    text += f'name: "{net}"\n'
    text += input_layer() if deploy else data_layers(options)
    text += trunk(options, deploy)
    if net != "whole_face":
        text += task_one(options)
    if net == "cascade" or (net == "region" and deploy):
        text += region(options, deploy)
    if net != "region":
        # In the cascade these layers are new beside trained ones.
        rate = 5 if net == "cascade" else 1
        text += task_two(options, ["rois"] if net == "cascade" else [], rate)
        text += head(options, net == "cascade", rate)
    return text + (outputs(net) if deploy else losses(net, options))


def solver(net, folder, changes, count):
    """solver/<net>.prototxt for `count` attributes, net and snapshots in `folder`, fields changed as `changes` says."""
    text = (REPOSITORY / "solver" / f"{net}.prototxt").read_text()
    changes = {
        field.rpartition(".")[2]: value for field, value in changes.items() if field.rpartition(".")[0] in ("", net)
    }
    # Every attribute has branches of its own: the gradient's norm grows with the root of their number.
    changes.setdefault("clip_gradients", number(round(0.5 * count**0.5, 2)))
    changes["net"] = f'"{folder}/train_val.prototxt"'
    changes["snapshot_prefix"] = f'"{folder}/{net}"'
    for field, value in changes.items():
        text, found = re.subn(rf"(?m)^{field}: *(\"[^\"]*\"|\S+)", f"{field}: {value}", text)
        if not found:
            text += f"{field}: {value}\n"
    return text


def write(folder, options, solver_changes=None):
    """Write the networks' files below `folder`; with solver_changes (a dict, maybe empty) solvers too."""
    for net in NETS:
        place = pathlib.Path(folder) / net
        place.mkdir(parents=True, exist_ok=True)
        (place / "train_val.prototxt").write_text(network(net, options))
        (place / "deploy.prototxt").write_text(network(net, options, deploy=True))
        if solver_changes is not None:
            (place / "solver.prototxt").write_text(
                solver(net, place.as_posix(), solver_changes, len(options.attributes))
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--attributes", help="comma-separated names; default: those of the LMDB's manifest, else the paper's twenty")
    add("--batch", type=int, default=4, help="b, images per attribute and batch, even (default 4)")
    add("--lmdb", default="data/lmdb", help="folder of the LMDBs (default data/lmdb)")
    add("--l1", default="log", choices=L1_FORMS, help="form of eq. 1 (default log)")
    add("--alpha", type=float, default=1.0, help="weight of task one's loss (default 1)")
    add("--beta", type=float, default=1.0, help="weight of task two's loss (default 1)")
    add("--threshold", type=float, default=0.5, help="response above which a point counts (default 0.5)")
    add("--average-weight", type=float, default=0.5, help="share of the average response (default 0.5)")
    add("--roi-gradient", default="none", choices=("none", "soft"), help="default none")
    add("--early-stopping-range", type=float, default=0.1, help="0 switches early stopping off (default 0.1)")
    add("--test-batch", type=int, default=20, help="images per TEST batch (default 20)")
    add("--form", choices=manifest.FORMS, help="of the training data; default: the LMDB's manifest's, else stream")
    add("--out", help="folder to write to, with solvers; default: the committed files in models/")
    add("--solver", default="", help="changes to the solvers, e.g. base_lr=0.01,region.max_iter=500")
    arguments = vars(parser.parse_args())
    out, changes = arguments.pop("out"), arguments.pop("solver")
    named = arguments["attributes"] and [name for name in arguments["attributes"].split(",") if name]
    try:
        told = manifest.read(arguments["lmdb"]) if out and manifest.exists(arguments["lmdb"]) else {}
        arguments["attributes"] = named or told.get("attributes", PAPER_ATTRIBUTES)
        arguments["form"] = arguments["form"] or told.get("form", "stream")
        for key in ("attributes", "form"):
            if told.get(key, arguments[key]) != arguments[key]:
                raise ValueError(f"{key}: {arguments['lmdb']} was made with {told[key]}, not {arguments[key]}")
        fields = dict(change.split("=", 1) for change in changes.split(",") if change)
        options = Options(**arguments)
    except ValueError as error:
        sys.exit(f"error: {error}")
    write(out or REPOSITORY / "models", options, fields if out else None)
    what = f"{', '.join(NETS)} for {len(options.attributes)} attributes, b = {options.batch}"
    print(f"{out or 'models'}: {what}")


if __name__ == "__main__":
    main()
