"""Names of the face attributes: CelebA's forty, and the twenty the paper reports.

Every other module takes these from here. A data set may have others: see `is_name`.
"""

import re

# The order of the columns of list_attr_celeba.txt.
CELEBA_ATTRIBUTES = tuple(
    """
    5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair
    Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones
    Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline
    Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick
    Wearing_Necklace Wearing_Necktie Young
    """.split()
)

# The columns of table 2 of the paper, in its order.
PAPER_ATTRIBUTES = tuple(
    """
    Attractive Bald Black_Hair Blond_Hair Brown_Hair Bushy_Eyebrows Eyeglasses Goatee Heavy_Makeup Male
    Mouth_Slightly_Open Mustache Oval_Face Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat
    Wearing_Necklace Young
    """.split()
)

# The row of the means over attributes in tables of results, which no attribute can be called.
MEAN = "mean"

# Names become parts of file names, of comments in prototxts, and of comma-separated options.
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_. -]{0,62}[A-Za-z0-9_-])?")
# The rule in words, for messages: "'a+b' cannot be a name; " and this.
NAMES = (
    "at most 64 letters from A to Z, digits, blanks and _ - . can, with a letter, digit or _ first and no blank or "
    "full stop last"
)


def is_name(name):
    """Whether a value can name an attribute; NAMES says which can."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def wrong_names(names):
    """What is wrong with the names of the attributes of data or a network, or None."""
    for name in names:
        if not is_name(name):
            return f"{name!r} cannot be a name; {NAMES}"
        if name == MEAN:
            return f"{MEAN!r} is the row of the means over attributes in tables; give the attribute another name"
        if list(names).count(name) > 1:
            return f"{name} is given twice"
    return None if names else "must be at least one name, for example Eyeglasses"
