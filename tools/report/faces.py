"""The faces that a report shows: each picture is in the page once, and is used by its name wherever it is seen."""

from tools import drawing
from tools.report import page

SMALL = 144  # pixels of a face that is only shown small


class Faces:
    """Pictures of an evaluation's faces. opened: tools.report.opened.Opened"""

    def __init__(self, opened):
        self.opened, self.large = opened, {}

    def add(self, places, large=False):
        """Note that faces with these numbers are shown, in full size if large; returns their names in the page."""
        for place in map(int, places):
            self.large[place] = self.large.get(place, False) or large
        return [self.name(place) for place in places]

    @staticmethod
    def name(place):
        """The name of a face in the page."""
        return f"face{int(place)}"

    def definitions(self):
        """All noted pictures, as Markup that is not seen by itself. Raises ToolError."""
        places = sorted(self.large)
        pictures = {}
        for place, image in zip(places, self.opened.patches(places)):
            pictures[self.name(place)] = page.data_uri(image if self.large[place] else drawing.small(image, SMALL))
        return page.render("faces.html", pictures=pictures)
