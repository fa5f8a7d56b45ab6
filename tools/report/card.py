"""The model card of a report: use first, then facts."""

import shlex

from models import table1
from tools import model_files, networks
from tools.report import page
from tools.train import estimate

INTENDED = "studying and reproducing the paper; not for decisions about a person"
LIMITS = "aligned, roughly frontal faces; the probabilities hold for faces like those of the validation split"
SYNTHETIC = "The faces are synthetic, rendered by data_prep.synthetic.synthetic_faces; they show nobody."
LABELS = (
    "This file holds pictures of people: do not pass it on without their consent. Labels are guesses at appearances by "
    "annotators, not facts about the people; a model of them must not decide about anybody."
)
# By kind of data set.
TERMS = {
    "celeba": "CelebA is for non-commercial research; its pictures show real people who were not asked.",
    "lfwa": "LFWA is for non-commercial research; its pictures show real people who were not asked.",
    "csv": "The data are your own: their licence, and the consent of the people on them, are yours to state.",
}
MILLION = 1e6


def speed(network):
    """Throughput of an evaluation, in words."""
    rate = f"{network.faces_per_second:.1f} faces/s, reading included; {network.engine} on {network.device}"
    return f"{rate}, {network.cores} cores"


def operations(network, attributes, width):
    """Multiply-adds of one face, in words. network: "region", "cascade" or "whole_face"; attributes: their number."""
    of_parts = estimate.parts(width)
    counts = {part: of_parts[part] * (1 if part == "shared" else attributes) for part in estimate.PARTS[network]}
    shown = "; ".join(f"{part} {count / 1e9:.2f}" for part, count in counts.items())
    return f"{shown} billion (10^9) multiply-adds per face, of the layers in table 1"


def usage(opened):
    """How to use the model: dict of title -> lines to type, of a run; empty for bare weights."""
    if not opened.run.recorded:
        return {}
    folder = str(opened.run.folder)
    typed = f"face-cascade predict --run {shlex.quote(folder)} photo.jpg"
    lines = (
        "from tools.predict import Predictor\n\n"
        f"for face in Predictor(run={folder!r}).predict('photo.jpg'):\n"
        "    for name, answer in face.attributes.items():\n"
        "        print(name, answer.answer, answer.probability, answer.region)\n"
    )
    return {
        "On the command line, from the project's folder:": typed,
        "In Python, from the project's folder:": lines,
    }


def card(opened):
    """The model card of the chosen network. Raises ToolError."""
    result, name = opened.result, opened.chosen()
    path = opened.weights(name)
    message = model_files.read_weights(path)
    kept = sum(len(blob.data) for layer in message.layer if layer.name not in networks.OPTIONAL for blob in layer.blobs)
    kind = "synthetic faces, laid out as " if result.synthetic else ""
    (conv1,) = (layer for layer in message.layer if layer.name == "conv1")
    width = conv1.blobs[0].shape.dim[0] / table1.SHARED[0].channels
    train = opened.manifest.splits.get("train")
    trained = f"{train.images:,} faces for training, " if train else ""
    facts = page.facts(
        {
            "Known limits": LIMITS,
            "Model": f"{name} ({result.networks[name].network}), {kept / MILLION:.1f} M parameters, "
            f"{path.stat().st_size / MILLION:.0f} MB: {path}",
            "Attributes": ", ".join(opened.attributes),
            "Data": f"{kind}{result.source or 'unknown'}; {trained}{result.faces:,} of the {result.split} split",
            "Input": f"{table1.INPUT_SIZE} x {table1.INPUT_SIZE} centre patch of an aligned face, B G R, 0 to 255",
            "Operations": operations(result.networks[name].network, len(opened.attributes), width),
            "Width": f"{width:g} of table 1's channels",
            "Speed": speed(result.networks[name]),
            "Licence and privacy": SYNTHETIC
            if result.synthetic
            else f"{TERMS.get(result.source, '')} {LABELS}".strip(),
        }
    )
    return page.render("card.html", intended=INTENDED, usage=usage(opened), facts=facts)
