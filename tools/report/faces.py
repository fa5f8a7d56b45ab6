"""The faces that a report shows: each picture is in the page once; and the section on the worst errors."""

import cv2
import numpy as np

from tools.report import page

SMALL = 144  # pixels of a face that is only shown small
WORST = 8


class Faces:
    """Pictures of an evaluation's faces. opened: tools.report.opened.Opened"""

    def __init__(self, opened):
        self.opened, self.large = opened, {}

    def add(self, places, large=False):
        """Note that faces with these numbers are shown, in full size if large; returns their names in the page."""
        for place in map(int, places):
            self.large[place] = self.large.get(place, False) or large
        return [f"face{int(place)}" for place in places]

    def definitions(self):
        """All noted pictures, as Markup that is not seen by itself. Raises DataError, OSError."""
        pictures = {}
        for place, image in zip(sorted(self.large), self.opened.patches(sorted(self.large))):
            if not self.large[place]:
                image = cv2.resize(image, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
            pictures[f"face{place}"] = page.data_uri(image)
        return page.render("faces.html", pictures=pictures)


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
        places = wrong[np.argsort(truth, kind="stable")][:WORST]
        entries = [
            {"face": name, "number": place, "present": label[place], "probability": probability[place]}
            for place, name in zip(places.tolist(), faces.add(places))
        ]
        panels[attribute] = page.render(
            "errors.html", attribute=attribute, entries=entries, wrong=len(wrong), faces=len(label)
        )
    return page.render("worst.html", network=opened.chosen, panels=page.picker("Attribute", panels))
