"""The section of a report on the worst errors: the faces that are answered wrongly with the greatest confidence."""

import numpy as np

from tools.report import page

SHOWN = 8


def worst(opened, faces):
    """One panel per attribute of wrongly answered faces, the most confident answers first.

    faces: Faces, to which those that are shown are added
    """
    decisions, probabilities = opened.answers(opened.chosen)
    panels = {}
    for index, attribute in enumerate(opened.shown):
        label, decided, probability = opened.labels[:, index], decisions[:, index], probabilities[:, index]
        wrong = np.flatnonzero(label != decided)
        truth = np.where(label, probability, 1 - probability)[wrong]  # probability given to the truth
        places = wrong[np.argsort(truth, kind="stable")][:SHOWN]
        entries = [
            {"face": href, "number": place, "present": label[place], "probability": probability[place]}
            for place, href in zip(places.tolist(), faces.add(places))
        ]
        panels[attribute] = page.render(
            "errors.html", attribute=attribute, entries=entries, wrong=len(wrong), faces=len(label)
        )
    return page.render("worst.html", network=opened.chosen, panels=page.picker("Attribute", panels))
