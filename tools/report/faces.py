"""The sections with faces: regions from the response to the region, the measures of regions, and the worst errors."""

import numpy as np

from tools.evaluate import localisation, results
from tools.evaluate.results import cell
from tools.report import page

WITH, WITHOUT = 5, 2  # faces that are shown per attribute
WORST = 8
MEAN_OF = 200  # faces whose mean is drawn under the average regions
MEASURES = ("iou", "coverage", "pointing_game", "area")


def regions(opened, shown):
    """Regions step by step, average regions on the mean face, and measures of regions where true boxes are known.

    shown: set of the numbers of all faces that the page shows; those of this section are added. Empty where no network
    maps regions. Raises ToolError.
    """
    name = next((name for name in opened.names if "average" in opened.arrays[name]), None)
    if name is None:
        return ""
    arrays, entries = opened.arrays[name], []
    for index in range(len(opened.attributes)):
        label = opened.labels[:, index]
        places = [*np.flatnonzero(label)[:WITH].tolist(), *np.flatnonzero(~label)[:WITHOUT].tolist()]
        shown.update(places)
        entries.append(steps_of(opened, name, index, places))
    mean = np.mean(opened.patches(range(min(MEAN_OF, len(opened.labels)))), axis=0).astype(np.uint8)
    average = localisation.regions_of(arrays, arrays["average"][np.newaxis], revise=False)[0]
    return page.render(
        "regions.html",
        network=name,
        attributes=opened.shown,
        entries=entries,
        boxes=opened.boxes,
        mean=page.data_uri(mean),
        average=average.round().astype(int).tolist(),
        weight=float(arrays["average_weight"]),
        threshold=float(arrays["threshold"]),
        measures={name: table for name in opened.names if (table := measures(opened, name))},
    )


def steps_of(opened, name, index, places):
    """What is drawn on some faces for one attribute of a network, a dict each."""
    (decisions, probabilities), arrays, entries = opened.answers(name), opened.arrays[name], []
    response = arrays["response"][places]
    revised = localisation.revised(arrays, response)
    raw, final = (localisation.regions_of(arrays, response, revise) for revise in (False, True))
    for number, place in enumerate(places):
        true = opened.boxes[place].get(opened.attributes[index]) if opened.boxes else None
        truth, answer = ("present" if of[place, index] else "absent" for of in (opened.labels, decisions))
        entries.append(
            {
                "face": f"face{place}",
                "words": f"Truth: {truth}. Answer: {answer}, probability {probabilities[place, index]:.2f}.",
                "response": rounded(response[number, index], 2),
                "region": rounded(raw[number, index], 0),
                "revised": rounded(revised[number, index], 2),
                "final": rounded(final[number, index], 0),
                "truth": rounded(true, 0) if true and true[2] > true[0] else None,
            }
        )
    return entries


def rounded(values, digits):
    """Numbers as short as JSON holds them."""
    return np.ravel(values).astype(float).round(digits).tolist()


def measures(opened, name):
    """Table of a network's regions against true boxes, those of raw responses in brackets; empty without boxes."""
    of_network, rows = opened.result.networks[name].regions or [], []
    raw, revised = ([row for row in of_network if row.response == kind] for kind in (results.RAW, results.REVISED))
    for before, row in zip(raw, revised):
        cells = [f"{cell(row[key])} (raw {cell(before[key])})" for key in MEASURES]
        rows.append([page.human(row.attribute), f"{row.faces:,}", *cells])
    heads = ["Attribute", "Faces", *(page.heading(results.heading(key)) for key in MEASURES)]
    return page.table(heads, rows, "Regions against true boxes", mean=True)


def definitions(opened, places):
    """The pictures of faces with these numbers, as Markup that is not seen by itself: face N is called "faceN".

    Raises DataError, OSError.
    """
    pictures = dict(zip(sorted(places), map(page.data_uri, opened.patches(sorted(places)))))
    return page.render("faces.html", pictures=pictures)


def worst(opened, shown):
    """One panel per attribute of wrongly answered faces, the most confident answers first.

    shown: set of the numbers of all faces that the page shows; those of this section are added
    """
    decisions, probabilities = opened.answers(opened.chosen)
    panels = {}
    for index, attribute in enumerate(opened.shown):
        label, decided, probability = opened.labels[:, index], decisions[:, index], probabilities[:, index]
        wrong = np.flatnonzero(label != decided)
        truth = np.where(label, probability, 1 - probability)[wrong]  # probability given to the truth
        places = wrong[np.argsort(truth, kind="stable")][:WORST].tolist()
        shown.update(places)
        entries = [{"number": place, "present": label[place], "probability": probability[place]} for place in places]
        panels[attribute] = page.render(
            "errors.html", attribute=attribute, entries=entries, wrong=len(wrong), faces=len(label)
        )
    return page.render("worst.html", network=opened.chosen, panels=page.picker("Attribute", panels))
