"""The parts of a report that are pictures: regions, figure 4, and the faces with the best and worst answers."""

import html

import numpy as np

from tools import drawing
from tools.evaluate import localisation, pictures
from tools.evaluate.tables import as_dicts
from tools.report import page

FACES = 6
MEASURES = (
    "IoU: intersection over union; box coverage: share of the true box inside the region; pointing-game accuracy: "
    "share of regions whose centre lies in the box; region area: share of the picture."
)


def regions(opened):
    """Average regions on the mean face, figure 4, and measures of regions where true boxes are known."""
    body = ""
    for name in opened.names:
        arrays = opened.arrays[name]
        if "average" not in arrays:
            continue
        mapper = localisation.Mapper(
            arrays["average"], arrays["rectangles"], float(arrays["threshold"]), float(arrays["average_weight"])
        )
        faces = opened.patches(range(min(200, len(opened.labels))))
        mean = np.mean(faces, axis=0).astype(np.uint8)
        tiles = [
            drawing.titled(drawing.region(mean, box), attribute)
            for attribute, box in zip(opened.attributes, mapper.average_regions())
        ]
        tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % min(5, len(tiles)))
        columns = min(5, len(tiles))
        sheet = np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
        body += f"<h3>{html.escape(name)}: average regions on the mean face</h3>"
        body += f'<div class="panels">{page.picture(sheet, "average regions")}</div>'
        picture = pictures.figure4(
            mapper, arrays["response"], opened.labels, opened.attributes, opened.result.lmdb, opened.result.split
        )
        if picture is not None:
            body += "<h3>Figure 4: responses and regions without and with the average region</h3>"
            body += f'<div class="panels">{page.picture(picture, "figure 4")}</div>'
        if opened.result.networks[name].regions:
            body += f"<h3>Regions against true boxes</h3><p>{MEASURES}</p>"
            body += page.table(as_dicts(opened.result.networks[name].regions))
    return body


def examples(opened):
    """Per attribute the faces answered best and worst."""
    name = opened.chosen()
    _, probabilities = opened.answers(name)
    body = f"<p>Answers of {html.escape(name)}; p is the calibrated probability of “present”. Faces are sorted by the "
    body += "probability given to their true label.</p>"
    for index, attribute in enumerate(opened.attributes):
        p, label = probabilities[:, index], opened.labels[:, index]
        right = np.where(label, p, 1 - p)
        order = np.argsort(right, kind="stable")
        body += f"<h3>{html.escape(attribute)}</h3>"
        for title, places in (("worst", order[:FACES]), ("best", order[::-1][:FACES])):
            body += f'<p class=pale>{title}</p><div class="faces">'
            for place, image in zip(places, opened.patches(places)):
                image = drawing.small(image)
                words = f"{'present' if label[place] else 'absent'}, p = {p[place]:.2f}"
                body += f"<figure>{page.picture(image, words)}<figcaption>{words}</figcaption></figure>"
            body += "</div>"
    return f"<details><summary>Show {2 * FACES * len(opened.attributes)} faces</summary>{body}</details>"
