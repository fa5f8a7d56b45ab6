"""The section of a report on regions: from the response to the region, face by face, and the measures of regions."""

import numpy as np

from tools.evaluate import results
from tools.report import page
from tools.report.attributes import mean_or_name, split_foot

WITH, WITHOUT = 5, 2  # faces that are shown per attribute
MEAN_OF = 200  # faces whose mean is drawn under the average regions
STEPS = (
    ("face", "Face", "The face as the network sees it."),
    ("response", "Response", "The response map of task one: 4 x 4 values from 0 to 1."),
    ("region", "Region", "The region of this response alone: the rectangle round its points above the threshold."),
    ("revised", "Revised response", "The response, revised by the average response of the attribute."),
    ("final", "Revised region", "The region of the revised response. Task two looks at this region."),
    ("truth", "True box", "Orange: the region that task two looks at. White, dashed: the true box of the attribute."),
)


def chosen_faces(labels, used):
    """Numbers of faces to show for one attribute: some with it, some without, those first that are shown already.

    labels: (N,) bool; used: numbers of faces that other attributes show
    """
    chosen = []
    for present, number in ((True, WITH), (False, WITHOUT)):
        places = np.flatnonzero(labels == present)
        chosen += sorted(places, key=lambda place: (place not in used, place))[:number]
    return [int(place) for place in chosen]


def regions(opened, faces):
    """Regions step by step, average regions on the mean face, and measures of regions where true boxes are known.

    faces: Faces, to which those that are shown are added. Empty where no network maps regions. Raises ToolError.
    """
    found = opened.mapper()
    if found is None:
        return ""
    name, mapper = found
    boxes = opened.boxes()
    decisions, probabilities = opened.answers(name)
    response = opened.arrays[name]["response"]
    entries, used = [], set()
    for index, attribute in enumerate(opened.attributes):
        of_attribute = []
        places = chosen_faces(opened.labels[:, index], used)
        used.update(places)
        one = response[places]
        raw, final = mapper.regions(one, revise=False)[:, index], mapper.regions(one)[:, index]
        revised = mapper.revised(one)[:, index]
        for number, (place, href) in enumerate(zip(places, faces.add(places, large=True))):
            truth = boxes[place].get(attribute) if boxes else None
            of_attribute.append(
                {
                    "face": href,
                    "words": words(opened.labels[place, index], decisions[place, index], probabilities[place, index]),
                    "response": rounded(one[number, index], 2),
                    "region": rounded(raw[number], 0),
                    "revised": rounded(revised[number], 2),
                    "final": rounded(final[number], 0),
                    "truth": rounded(truth, 0) if truth and truth[2] > truth[0] else None,
                }
            )
        entries.append(of_attribute)
    steps = [dict(zip(("name", "title", "words"), step)) for step in STEPS if boxes or step[0] != "truth"]
    mean = np.mean(opened.patches(range(min(MEAN_OF, len(opened.labels)))), axis=0).astype(np.uint8)
    return page.render(
        "regions.html",
        network=name,
        attributes=opened.shown,
        steps=steps,
        data={"entries": entries, "steps": [{key: step[key] for key in ("name", "words")} for step in steps]},
        mean=page.data_uri(mean),
        average=[rounded(box, 0) for box in mapper.average_regions()],
        weight=page.share(mapper.weight),
        measures=measures(opened),
    )


def words(label, decided, probability):
    """A face's truth and answer."""
    truth, answer = ("present" if value else "absent" for value in (label, decided))
    return f"Truth: {truth}. Answer: {answer}, probability {probability:.2f}."


def rounded(values, digits):
    """Numbers as short as JSON holds them."""
    flat = np.asarray(values, dtype=float).ravel().round(digits)
    return [int(value) if digits == 0 else float(value) for value in flat]


def measures(opened):
    """Tables of regions against true boxes, of all networks that map regions: dict name -> table."""
    names = {"iou": "IoU", "coverage": "Box coverage", "pointing_game": "Pointing-game accuracy", "area": "Region area"}
    tables = {}
    for name in opened.ordered():
        raw, revised = (
            [row for row in opened.result.networks[name].regions or [] if row.response == response]
            for response in (results.RAW, results.REVISED)
        )
        before = {row.attribute: row for row in raw}
        rows = []
        for row in revised or raw:
            cells = [page.number(getattr(row, key)) for key in names]
            for cell, key in zip(cells, names):
                if revised and row.attribute in before:
                    cell.interval = f"(raw {page.share(getattr(before[row.attribute], key))})"
            rows.append([mean_or_name(row.attribute), f"{row.faces:,}", *cells])
        if rows:
            heads = ["Attribute", "Faces", *names.values()]
            tables[name] = page.table(heads, *split_foot(rows), words="Regions against true boxes")
    return tables
