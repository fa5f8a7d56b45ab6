"""The section of a report on regions: from the response to the region, face by face, and the measures of regions."""

import numpy as np

from tools.evaluate import localisation, results, summary
from tools.report import page
from tools.report.attributes import mean_or_name

WITH, WITHOUT = 5, 2  # faces that are shown per attribute
MEAN_OF = 200  # faces whose mean is drawn under the average regions
STEPS = (
    ("face", "Face", "The face as the network sees it."),
    ("response", "Response", "The response map of task one: 4 x 4 values from 0 to 1."),
    (
        "region",
        "Region",
        "The region of this response alone: the rectangle round its points above the response threshold.",
    ),
    ("revised", "Revised response", "The response, revised by the average response of the attribute."),
    ("final", "Revised region", "The region of the revised response. Task two looks at this region."),
    ("truth", "True box", "Orange: the region that task two looks at. White, dashed: the true box of the attribute."),
)
MEASURES = ("iou", "coverage", "pointing_game", "area")


def regions(opened, faces):
    """Regions step by step, average regions on the mean face, and measures of regions where true boxes are known.

    faces: Faces, to which those that are shown are added. Empty where no network maps regions. Raises ToolError.
    """
    name = next((name for name in opened.names if "average" in opened.arrays[name]), None)
    if name is None:
        return ""
    mapper, boxes, used, entries = localisation.Mapper.of_arrays(opened.arrays[name]), opened.boxes(), set(), []
    for index in range(len(opened.attributes)):
        places = chosen_faces(opened.labels[:, index], used)
        used.update(places)
        entries.append(steps_of(opened, name, mapper, index, places, faces.add(places, large=True), boxes))
    steps = [dict(zip(("name", "title", "words"), step)) for step in STEPS if boxes or step[0] != "truth"]
    mean = np.mean(opened.patches(range(min(MEAN_OF, len(opened.labels)))), axis=0).astype(np.uint8)
    return page.render(
        "regions.html",
        network=name,
        attributes=opened.shown,
        steps=steps,
        data={"entries": entries, "steps": [{key: step[key] for key in ("name", "words")} for step in steps]},
        mean=page.data_uri(mean),
        average=[rounded(box, 0) for box in mapper.regions(mapper.average[np.newaxis], revise=False)[0]],
        weight=mapper.average_weight,
        threshold=mapper.threshold,
        measures={name: table for name in opened.names if (table := measures(opened, name))},
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


def steps_of(opened, name, mapper, index, places, names, boxes):
    """What is drawn on some faces for one attribute, a dict each; names: of the faces in the page."""
    decisions, probabilities = opened.answers(name)
    response = opened.arrays[name]["response"][places]
    raw, final = mapper.regions(response, revise=False)[:, index], mapper.regions(response)[:, index]
    revised, entries = mapper.revised(response)[:, index], []
    for number, (place, href) in enumerate(zip(places, names)):
        true = boxes[place].get(opened.attributes[index]) if boxes else None
        truth, answer = ("present" if of[place, index] else "absent" for of in (opened.labels, decisions))
        entries.append(
            {
                "face": href,
                "words": f"Truth: {truth}. Answer: {answer}, probability {probabilities[place, index]:.2f}.",
                "response": rounded(response[number, index], 2),
                "region": rounded(raw[number], 0),
                "revised": rounded(revised[number], 2),
                "final": rounded(final[number], 0),
                "truth": rounded(true, 0) if true and true[2] > true[0] else None,
            }
        )
    return entries


def rounded(values, digits):
    """Numbers as short as JSON holds them."""
    flat = np.asarray(values, dtype=float).ravel().round(digits)
    return [int(value) if digits == 0 else float(value) for value in flat]


def measures(opened, name):
    """Table of a network's regions against true boxes, those of raw responses in brackets; empty without boxes."""
    of_network = opened.result.networks[name].regions or []
    raw = {row.attribute: row for row in of_network if row.response == results.RAW}
    rows = []
    for row in (row for row in of_network if row.response == results.REVISED):
        cells = {key: page.number(getattr(row, key)) for key in MEASURES}
        for key, cell in cells.items():
            cell.interval = f"(raw {summary.cell(getattr(raw[row.attribute], key))})" if row.attribute in raw else ""
        rows.append([mean_or_name(row.attribute), f"{row.faces:,}", *cells.values()])
    heads = page.headings(results.RegionRow)
    return page.with_mean(["Attribute", "Faces", *(heads[key] for key in MEASURES)], rows, "Regions against true boxes")
