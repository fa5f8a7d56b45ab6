"""Attributes of the faces in photos, each with the region of the face that it was found in.

    from tools.predict import Predictor

    predictor = Predictor(run="build/run")
    for face in predictor.predict("photo.jpg"):
        print(face.box.round(), face.warning or "")
        for name, answer in face.attributes.items():
            print(f"{name}: {answer.answer}, probability {answer.probability:.2f}, region {answer.region.round()}")

Run it from the project's folder with .venv/bin/python or .caffe/bin/python. Modules, lowest first: photo (a photo, its
faces and answers); inputs (reading); cards (pictures); predictor; video; output; command.
"""


def __getattr__(name):
    # Loaded when it is asked for, because it needs a Caffe, which the other modules do not.
    if name == "Predictor":
        from tools.predict.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
