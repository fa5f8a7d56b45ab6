"""The text of the three networks' prototxts: a function for each section, and `network`, which combines them.

`region` is task one alone, `cascade` both tasks, `whole_face` task two on the whole map (the paper's ablation). Layers
of the same name have the same weights in all three.
"""

import re

from data_prep import geometry
from models import table1
from models.data_layers import data_layers, input_layer
from models.prototxt import (
    banner,
    block,
    difference,
    global_max,
    in_phase,
    layer,
    lines_block,
    number,
    python,
    reshape,
)

# Layers whose blobs are the state of one stage of training; joint training has its own. POSITION holds the place in the
# sequence of mini-batches, where joint training goes on; a training on other data starts without it.
STATE_LAYERS, POSITION = ("region_mapper", "early_stopping"), "balanced_data"


# The comment of all prototxts that names the attributes.
ATTRIBUTES = "{} attributes: {}"


def attributes_of(text):
    """The attributes that the text of a prototxt names in its comment, in order; [] if there is none."""
    found = re.search(rf"^# {ATTRIBUTES.format('[0-9]+', '(.+)')}$", text, re.MULTILINE)
    return found[1].split(", ") if found else []


def convolution(row, bottom, groups=1, filler='type: "msra"', relu=True, rate=1):
    """A row of table 1 as a (grouped) Convolution, with its ReLU. rate: factor of the learning rate."""
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
    rates = [f"param {{ lr_mult: {rate} decay_mult: 1 }}", f"param {{ lr_mult: {2 * rate} decay_mult: 0 }}"]
    text = layer(row.name, "Convolution", [bottom], [row.name], *rates, lines_block("convolution_param", *shape))
    if relu:
        text += layer(f"relu_{row.name}", "ReLU", [row.name], [row.name])
    return text


def small_weights(options):
    """The filler of the layers that give scores: larger where fewer channels enter, so that scores vary alike."""
    return f'type: "gaussian" std: {number(round(0.02 / options.width**0.5, 4))}'


def trunk(options, deploy):
    """Rows conv1 to conv3 of table 1. Top: conv3 (images, A * 384, 13, 13)."""
    count, batch, table = len(options.attributes), options.batch, table1.scaled(options.width)
    mean, scale = geometry.PIXEL_MEAN, geometry.PIXEL_SCALE
    text = banner(
        "shared by all attributes",
        f"(x - {mean}) / {scale} centres CelebA's pixels (mean {mean} over all channels) and scales them to about 1.",
    )
    power = block("power_param", f"scale: {number(1 / scale)}", f"shift: {number(-mean / scale)}")
    text += layer("normalise", "Power", ["data"], ["pixels"], power)
    bottom = "pixels"
    for row in table.shared:
        if row.name.startswith("pool"):
            size = block("pooling_param", "pool: MAX", f"kernel_size: {row.kernel}", f"stride: {row.stride}")
            text += layer(row.name, "Pooling", [bottom], [row.name], size)
        else:
            text += convolution(row, bottom)
        bottom = row.name
    channels, size = table.shared[-1].channels, table.shared[-1].output
    text += banner("one group of channels per attribute", ATTRIBUTES.format(count, ", ".join(options.attributes)))
    tile = block("tile_param", "axis: 1", f"tiles: {count}")
    if deploy:
        text += layer("per_attribute", "Tile", ["pool2"], ["per_attribute"], tile)
    else:
        dims = (batch, count * channels, size, size)
        text += reshape("per_attribute", "pool2", "per_attribute", *dims, phase="TRAIN")
        text += layer("per_attribute", "Tile", ["pool2"], ["per_attribute"], in_phase("TEST"), tile)
    return text + convolution(table.conv3, "per_attribute", count)


def task_one(options):
    """Rows conv4 to conv7 and the response map. Tops: conv7 (b, 2 * A, 4, 4), d (b, A, 4, 4), max_d (b, A)."""
    count, size, rows = len(options.attributes), table1.RESPONSE_SIZE, table1.scaled(options.width).task_one
    text = banner("task one: finds the region (section 3.2)")
    bottom = "conv3"
    for row in rows[:-1]:
        text += convolution(row, bottom, count)
        bottom = row.name
    # Small initial weights, because the largest of sixteen scores would otherwise start far above zero.
    text += convolution(rows[-1], bottom, count, small_weights(options), relu=False)
    text += banner("response map", "d = score present - score absent, for each point; max_d is the largest d.")
    text += reshape("pair", "conv7", "pair", 0, count, 2, -1)
    text += layer("scores", "Slice", ["pair"], ["absent", "present"], block("slice_param", "axis: 2"))
    text += difference("difference", "present", "absent", "d_flat")
    text += reshape("d", "d_flat", "d", 0, count, size, size)
    text += global_max("pool_d", "d", "max_d_map")
    return text + reshape("max_d", "max_d_map", "max_d", 0, count)


def region(options, deploy):
    """The region of the response map. Tops: response (b, A, 4, 4), rois (b, A, 4), in deploy nets also rois_image."""
    parameters = {"threshold": options.threshold, "average_weight": options.average_weight}
    if options.roi_gradient != "none":
        parameters["gradient"] = options.roi_gradient
    tops = ["rois"]
    if deploy:
        tops.append("rois_image")
    carried = "param { lr_mult: 0 decay_mult: 0 }"
    body = [
        f"{carried}  # average response, written when task one has converged",
        f"{carried}  # rectangle of each response point",
    ]
    if options.roi_gradient == "none":
        body.append("propagate_down: false  # thresholding has zero gradient")
    return (
        banner("region: the rectangle around the response points above the threshold (section 3.2)")
        + layer("response", "Sigmoid", ["d"], ["response"])
        + python("region_mapper", "region_mapper", "RegionMapper", ["response"], tops, parameters, *body)
    )


def task_two(options, rois, rate):
    """RoI warp and rows conv4-t2 to conv6-t2. Top: max_conv6-t2 (b, A, 1, 1).

    rois: list with the name of the regions' blob, empty for the whole map; rate: factor of the learning rate
    """
    count, rows = len(options.attributes), table1.scaled(options.width).task_two
    place = "region" if rois else "whole map"
    text = banner(f"task two: recognises the attribute on the {place} (section 3.3)")
    text += python("roi_warp", "roi_warp", "RoIWarp", ["conv3", *rois], ["roi"], {"warp": 10, "pool": 2})
    bottom = "roi"
    for row in rows[:-1]:
        text += convolution(row, bottom, count, rate=rate)
        bottom = row.name
    text += convolution(rows[-1], bottom, count, small_weights(options), relu=False, rate=rate)
    last = rows[-1].name
    return text + global_max("pool_t2", last, f"max_{last}")


def head(options, with_task_one, rate):
    """A linear combination of the tasks' outputs for each attribute (eq. 4). Top: logits (images, A)."""
    count = len(options.attributes)
    numbers, bottom = 1, "max_conv6-t2"
    notes = ["For each attribute, a weighted sum of the tasks' largest scores, plus a bias."]
    if with_task_one:
        notes.append("The score of absence is negated; at the start all weights are equal.")
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


def early_stopping(options, scores, forms, weights):
    """Early stopping per attribute. Tops: <score>_training, and the number and the flags of attributes that train.

    scores: blob names; forms, weights: one per score, of its loss
    """
    parameters = {"range": options.early_stopping_range}
    if forms != ["log"] * len(forms):
        parameters["forms"] = forms
    if weights != [1] * len(weights):
        parameters["weights"] = weights
    carried = "param { lr_mult: 0 decay_mult: 0 }  # "
    return python(
        "early_stopping",
        "early_stopping",
        "EarlyStopping",
        [*scores, "label"],
        [*(f"{score}_training" for score in scores), "attributes_training", "attributes_training_each"],
        parameters,
        *(f"{carried}{what}" for what in ("window of losses", "epsilon, losses observed, mini-batches stopped")),
        *("propagate_down: true" for _ in scores),
        "propagate_down: false",
    )


def accuracy(score, name, options):
    """Accuracy of the decision score > 0 in the TEST phase. Tops: `name`, the mean; `name`_each, per attribute."""
    test, count = in_phase("TEST"), len(options.attributes)
    present, miss, missed, right, faces = (f"{name}_{what}" for what in ("present", "miss", "missed", "right", "faces"))
    mean = block("pooling_param", "pool: AVE", f"kernel_h: {options.test_batch}", "kernel_w: 1")
    return (
        layer(present, "Threshold", [score], [present], test)
        + difference(miss, present, "label", miss, test)
        + layer(missed, "AbsVal", [miss], [missed], test)
        + layer(right, "Power", [missed], [right], test, block("power_param", "scale: -1", "shift: 1"))
        + layer(name, "Reduction", [right], [name], test, block("reduction_param", "operation: MEAN"))
        + reshape(faces, right, faces, 1, 1, -1, count, phase="TEST")
        + layer(f"{name}_each", "Pooling", [faces], [f"{name}_each"], test, mean)
    )


def cross_entropy(name, score, weight):
    """The loss of a score: mean over images and sum over attributes. weight: its field loss_weight."""
    return layer(name, "SigmoidCrossEntropyLoss", [f"{score}_training", "label"], [name], weight)


def loss_one(options):
    """L1 (eq. 1) on max_d."""
    weight = f"loss_weight: {number(options.alpha)}  # alpha, eq. 6"
    if options.l1 == "log":
        return cross_entropy("loss_region", "max_d", weight)
    # coeff turns the mean over attributes into a sum, as in the log form.
    mean = block("reduction_param", "operation: MEAN", f"coeff: {len(options.attributes)}")
    return (
        layer("max_r", "Sigmoid", ["max_d_training"], ["max_r"])
        + difference("miss", "label", "max_r", "miss")
        + layer("miss_size", "AbsVal", ["miss"], ["miss_size"])
        + layer("loss_region", "Reduction", ["miss_size"], ["loss_region"], mean, weight)
    )


def losses(net, options):
    """Early stopping, the losses and, in TEST, the accuracies."""
    text = banner("losses (eq. 1, 4, 6), after early stopping (section 3.4.2)")
    # Score -> form and weight of its loss.
    one, two = ("max_d", (options.l1, options.alpha)), ("logits", ("log", options.beta))
    scores = dict({"region": [one], "cascade": [two, one], "whole_face": [two]}[net])
    if net == "cascade" and options.task_two_loss:
        text += reshape("score_two", "max_conv6-t2", "score_two", 0, len(options.attributes))
        scores["score_two"] = "log", options.task_two_loss
    forms, weights = (list(values) for values in zip(*scores.values()))
    text += early_stopping(options, list(scores), forms, weights)
    if "max_d" in scores:
        text += loss_one(options) + accuracy("max_d", "accuracy_region", options)
    if "logits" in scores:
        text += cross_entropy("loss_attribute", "logits", f"loss_weight: {number(options.beta)}  # beta, eq. 6")
        text += accuracy("logits", "accuracy_attribute", options)
    if "score_two" in scores:
        # The paper does not have it: in eq. 4 task two only corrects what task one's scores leave over.
        text += cross_entropy("loss_task_two", "score_two", f"loss_weight: {number(options.task_two_loss)}")
    return text


def outputs(net):
    """The probabilities of deploy nets. Tops: region_prob and prob (images, A), as far as the net has them."""
    text = banner("probabilities")
    if net != "whole_face":
        text += layer("region_prob", "Sigmoid", ["max_d"], ["region_prob"])
    if net != "region":
        text += layer("prob", "Sigmoid", ["logits"], ["prob"])
    return text


TITLES = {
    "region": "Task one alone: a fully convolutional network finds the region of each attribute.",
    "cascade": "The cascade: task one finds the region, task two recognises the attribute in it.",
    "whole_face": "Ablation: task two on the whole map, without a region (section 4, second experiment).",
}


def network(net, options, deploy=False):
    """The text of one network's train_val or deploy prototxt.

    net: "region", "cascade" or "whole_face"; options: NetworkOptions
    """
    text = f"# {TITLES[net]}\n# Written by models/generate.py from table 1; change the generator, not this file.\n"
    text += f'name: "{net}"\n'
    text += input_layer() if deploy else data_layers(options)
    text += trunk(options, deploy)
    if net != "whole_face":
        text += task_one(options)
    if net == "cascade" or (net == "region" and deploy):
        text += region(options, deploy)
    if net != "region":
        # In the cascade these layers are untrained, while the others start from task one's weights.
        rate = 5 if net == "cascade" else 1
        text += task_two(options, ["rois"] if net == "cascade" else [], rate)
        text += head(options, net == "cascade", rate)
    return text + (outputs(net) if deploy else losses(net, options))
