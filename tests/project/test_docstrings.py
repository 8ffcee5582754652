"""Public docstrings state the facts that a caller needs: shapes, types, units, errors, sources. And nothing stale.

They are read with `ast`; no package is imported. A fact may stand in the parameter's entry, in the sentences at the
top, in the class's docstring, at the head of the file ("Images are uint8 [H, W, 3]"), in the comment beside a field, or
in a function that the text refers to. How a docstring is worded is up to its author.
"""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

from tests.docstrings import ARRAY, SHAPE, Item, Module, Packages, read_packages

ROOT = pathlib.Path(__file__).parents[2]
# Keras defines the arguments and results of these.
HOOKS = {"call", "build", "get_config", "compute_output_shape", "compute_output_spec", "compute_metrics", "fit"}
HOOKS |= {"apply", "update_step", "finalize_variable_values", "predict_on_batch"}

PLACES = re.compile(r"(^|_)(box|boxes|bbox|rois?|anchors|windows?|proposals|corners?|points|polygons?|vertices)($|_)")
LENGTHS = re.compile(r"(^|_)(width|height|sides|radius|tolerance|min_dim|max_dim|min_dims)$")
SIZES = re.compile(r"(^|_)(shape|size|sizes|canvas)$")
TYPED = re.compile(r"(^|_)(images?|masks?|crops?|class_ids?|match|indices|index)$")
MEASURES = "px|pixels?|norm|normalised|(any )?coordinates|metres|inches|characters|channels|cells?|data units|deltas?"
UNIT = re.compile(rf"\b({MEASURES})\b|log\(dw\)", re.IGNORECASE)
ORDER = re.compile(r"\((h|H|height|y|rows|length)\b|\[|\bsquare\b")
SHAPES = re.compile(SHAPE.pattern + r"|\bany shape\b|\bscalars?\b|\b[Tt]he (same )?shape\b")
TYPE = re.compile(r"\b(u?int\d*|float\d*|bool|str|any (number )?type|(same|and) type|numbers|0 to (1|255)|0 or 1)\b")

# Functions whose source lets an error of another function through, but that can never meet it.
CANNOT_RAISE = {
    "plot_kinds": "gives draw_boxes boxes",
    "plot_refinement": "gives draw_boxes boxes",
    "plot_proposals": "gives draw_boxes boxes",
    "plot_classified": "gives draw_boxes boxes",
    "filter_table": "asks for tensors of layers that are there",
    "resize_network": "the settings have made a network before",
    "validation_detector": "the settings have made a network before",
    "check_annotated": "the sizes of all images are known, and the readers have checked the run-length codes",
    "bitmask": "asserts the size first",
}

# Where a published method is implemented: the file, or a function or class in it, and the papers.
SOURCES = {
    "mrcnn/modeling/backbone.py": ["1612.03144"],
    "mrcnn/modeling/resnet.py": ["1512.03385", "1611.05431"],
    "mrcnn/modeling/normalization.py normalize": ["1803.08494"],
    "mrcnn/modeling/rpn.py": ["1506.01497"],
    "mrcnn/modeling/roi_heads.py": ["1703.06870", "1612.03144"],
    "mrcnn/model.py": ["1703.06870"],
    "mrcnn/modeling/targets.py": ["1506.01497", "1703.06870"],
    "mrcnn/modeling/losses.py": ["1703.06870"],
    "mrcnn/modeling/losses.py smooth_l1": ["1504.08083"],
    "mrcnn/modeling/losses.py hard_rois": ["1604.03540"],
    "mrcnn/modeling/ops.py soft_non_max_suppression": ["1704.04503"],
    "mrcnn/modeling/roi_align.py": ["1703.06870"],
    "mrcnn/structures/boxes.py apply_box_deltas": ["1311.2524"],
    "mrcnn/data/class_balance.py repeat_factors": ["1908.03195"],
    "mrcnn/data/class_balance.py class_aware_weights": ["1512.05830"],
    "mrcnn/data/class_balance.py class_weights": ["1901.05555"],
    "mrcnn/data/copy_paste.py": ["2012.07177"],
    "mrcnn/augment_settings.py": ["2012.07177"],
    "mrcnn/inspection/anchor_fit.py propose": ["1612.08242"],
    "mrcnn/engine/optimizers.py Adam": ["1412.6980"],
    "mrcnn/engine/optimizers.py AdamW": ["1711.05101"],
    "mrcnn/engine/optimizers.py WarmUp": ["1706.02677"],
    "mrcnn/engine/optimizers.py LayerRates.averages": ["1703.01780"],
    "mrcnn/engine/optimizers.py learning_rate_schedule": ["1608.03983"],
    "mrcnn/engine/optimizers.py build_optimizer": ["1211.5063"],
    "mrcnn/backend/precision.py": ["1710.03740"],
    "mrcnn/evaluation/coco_ap.py": ["1405.0312"],
    "mrcnn/evaluation/tide.py": ["2008.08115"],
    "mrcnn/evaluation/curves.py calibration": ["1706.04599"],
    "mrcnn/evaluation/bootstrap.py": ["Efron and Tibshirani"],
    "mrcnn/evaluation/voc_ap.py ap_from_matches": ["PASCAL VOC"],
    "bdd100k/dataset.py": ["1805.04687"],
    "bdd100k/evaluation/protocols.py": ["github.com/bdd100k/bdd100k"],
}
# arXiv number -> an author or the name of the method, which must stand next to it.
PAPERS = {
    "1211.5063": "Pascanu",
    "1311.2524": "R-CNN",
    "1405.0312": "Lin",
    "1412.6980": "Kingma",
    "1504.08083": "Fast R-CNN",
    "1506.01497": "Ren",
    "1512.03385": "He",
    "1512.05830": "Shen",
    "1604.03540": "Shrivastava",
    "1605.07146": "wide ResNet",
    "1608.03983": "Loshchilov",
    "1611.05431": "ResNeXt",
    "1612.03144": "FPN",
    "1612.08242": "YOLOv2",
    "1703.01780": "Tarvainen",
    "1703.06870": "He",
    "1704.04503": "Bodla",
    "1706.02677": "Goyal",
    "1706.04599": "Guo",
    "1710.03740": "Micikevicius",
    "1711.05101": "Loshchilov",
    "1803.08494": "GroupNorm",
    "1805.04687": "Yu",
    "1901.05555": "Cui",
    "1908.03195": "LVIS",
    "2008.08115": "TIDE",
    "2012.07177": "Ghiasi",
    "2103.17239": "LayerScale",
    "2201.03545": "ConvNeXt",
}


@pytest.fixture(scope="module")
def packages() -> Packages:
    return read_packages(ROOT, ("mrcnn", "bdd100k"))


def head_of_file(item: Item, name: str, fact: re.Pattern) -> bool:
    """Return whether the head of the file states a fact about all things of a name: 'Boxes are ... in pixels'."""
    word = re.sub("(es|s)$", "", name.removesuffix("_px").split("_")[-1])
    word = "box" if word in ("bbox", "roi", "anchor", "proposal", "window") else word
    sentences = re.split(r"\.\s|, (?=\w+ \[)", item.module.doc + " ")
    return any(re.search(rf"\b{word}(es|s)?\b", s, re.IGNORECASE) and fact.search(s) for s in sentences)


def states(packages: Packages, item: Item, name: str, fact: re.Pattern, seen: frozenset = frozenset()) -> bool:
    """Return whether a docstring states a fact about a parameter, itself or through a function that it names."""
    if item.place in seen:
        return False
    about = item.about(name)
    texts = [item.head, item.class_doc, item.comment(name)] if about is None else [about, item.comment(name)]
    if any(fact.search(text) for text in texts) or head_of_file(item, name, fact):
        return True
    seen = seen | {item.place}
    for other in packages.references(texts[0], item.module):
        if name in other.parameters and states(packages, other, name, fact, seen):
            return True
        if fact.search(other.doc if name not in other.parameters else other.section("Returns")):
            return True
    base = packages.inherited(item)
    return base is not None and name in base.parameters and states(packages, base, name, fact, seen)


def described(packages: Packages) -> Iterator[tuple[Item, str, str]]:
    """Yield (function or class, parameter or field, annotation) of everything public."""
    for item in packages.public():
        if item.name not in HOOKS:
            yield from ((item, name, annotation) for name, annotation in item.parameters.items())


def is_array(annotation: str) -> bool:
    """Return whether a value is an array or contains some; sequences of plain numbers have one axis anyway."""
    return bool(ARRAY.search(annotation)) and not re.search(r"Sequence\[(int|float)\]", annotation)


def is_number(annotation: str) -> bool:
    return bool(re.search(r"\b(int|float)\b", annotation)) and not re.search(r"\b(bool|dict)\b", annotation)


def present(packages: Packages) -> list[str]:
    """Everything public has a docstring."""
    found = []
    for item in packages.public():
        if not item.doc.strip() and item.name not in HOOKS | {"__init__"}:
            found.append(f"{item.place}: no docstring")
    return found


def shapes(packages: Packages) -> list[str]:
    """Arrays have shapes."""
    return [
        f"{item.place}: {name} has no shape"
        for item, name, annotation in described(packages)
        if is_array(annotation) and not states(packages, item, name, SHAPES)
    ]


def types(packages: Packages) -> list[str]:
    """Images, masks, class ids and indices have a dtype."""
    return [
        f"{item.place}: {name} has no dtype"
        for item, name, annotation in described(packages)
        if is_array(annotation) and TYPED.search(name) and not states(packages, item, name, TYPE)
    ]


def units(packages: Packages) -> list[str]:
    """Boxes, points and lengths are in pixels, normalised or in metres; sizes say which side comes first."""
    found = []
    for item, name, annotation in described(packages):
        several = is_array(annotation) or re.search(r"tuple|Sequence|list|Any", annotation)
        if several and SIZES.search(name) and not states(packages, item, name, ORDER):
            found.append(f"{item.place}: {name} does not say which side is first")
        place = several and PLACES.search(name) and not re.search("_(px|norm|area|valid)$", name)
        length = is_number(annotation) and LENGTHS.search(name)
        if (place or length) and not states(packages, item, name, UNIT):
            found.append(f"{item.place}: {name} has no unit")
    return found


def errors(packages: Packages) -> list[str]:
    """What a function raises, itself or through what it calls, is in its docstring, and nothing else is."""
    found = []
    for item in packages.public():
        raised = packages.raised(item) - {"AssertionError"}
        if item.full_name in CANNOT_RAISE and not raised:
            found.append(f"{item.place}: need not be in CANNOT_RAISE")
        if isinstance(item.node, ast.ClassDef) or item.name in HOOKS or item.full_name in CANNOT_RAISE:
            raised = set()
        told = " ".join(re.findall(r"\b[Rr]aises?\b[^.]*", f"{item.head}\n{item.class_doc}"))
        told += " " + item.section("Raises") + item.class_doc.partition("Raises:")[2]
        as_other = packages.references(told, item.module)
        for error in sorted(raised):
            if not re.search(rf"\b{error}\b", told) and not any(error in packages.raised(o, True) for o in as_other):
                found.append(f"{item.place}: raises {error} and does not say so")
        possible = packages.raised(item, True)
        for names, _ in item.entries("Raises"):
            for name in names:
                if name not in possible and not item.raises_a_variable:
                    found.append(f"{item.place}: does not raise {name!r}")
    return found


def stale(packages: Packages) -> list[str]:
    """`Args:` names all parameters and nothing else; `Attributes:` names what instances have."""
    found = []
    for item in packages.public():
        is_class = isinstance(item.node, ast.ClassDef)
        for names, text in item.entries("Args") if not is_class else ():
            unknown = [n for n in names if n not in item.parameters]
            found += [f"{item.place}: Args names {n!r}, which is no parameter" for n in unknown]
            found += [f"{item.place}: nothing is said of {names}"] if not text.strip() else []
        if not is_class and item.section("Args"):
            lacking = [n for n in item.parameters if item.about(n) is None and n[0] != "*"]
            found += [f"{item.place}: Args lacks {n}" for n in lacking]
        if is_class and item.section("Attributes"):
            for names, _ in item.entries("Attributes"):
                unknown = [n for n in names if n not in item.attributes]
                found += [f"{item.place}: Attributes names {n!r}, which is none" for n in unknown]
            found += [f"{item.place}: Attributes lacks {n}" for n in item.parameters if item.about(n) is None]
    return found


def results(packages: Packages) -> list[str]:
    """Functions that return arrays state their shapes, and those that return numpy arrays also the dtype."""
    found = []
    for item in packages.public():
        if not is_array(item.returns) or item.name in HOOKS:
            continue
        text = item.section("Returns") or item.section("Yields") or item.head
        fact = re.compile(SHAPES.pattern + r"|^`\w+`\.$")
        named = packages.references(text, item.module)
        base = packages.inherited(item)
        known = fact.search(text) or any(fact.search(o.doc) for o in named) or head_of_file(item, item.name, SHAPE)
        if not known and not (base and fact.search(base.doc)):
            found.append(f"{item.place}: the result has no shape")
        typed = TYPE.search(text) or any(TYPE.search(o.doc) for o in named) or re.fullmatch(r"`\w+`\.", text)
        if "np.ndarray" in item.returns and not typed and not (base and TYPE.search(base.doc)):
            found.append(f"{item.place}: the result has no dtype")
    return found


def letters(packages: Packages) -> list[str]:
    """Capital letters in shapes are explained, at the head of the file or in the docstring."""
    found = []
    for item in packages.public():
        used = {letter for shape in SHAPE.findall(item.doc) for letter in re.findall(r"(?<![\w.])[A-Z](?!\w)", shape)}
        heads = [m.doc for m in packages.modules if f"`{m.name[:-3].replace('/', '.')}`" in item.module.doc]
        outside = SHAPE.sub("", "\n".join([item.module.doc, *heads, item.doc, item.class_doc]))
        for letter in sorted(used - {"H", "W"}):
            if not re.search(rf"(?<!\w){letter}(?!\w)", outside):
                found.append(f"{item.place}: nothing says what {letter} is")
    return found


def sources(packages: Packages) -> list[str]:
    """Published methods cite their papers, and every cited paper is a known one with the right name."""
    docs = {f"{item.module.name} {item.full_name}": item.doc for item in packages.public()}
    docs |= {module.name: module.doc for module in packages.modules}
    found = [f"{place} does not exist" for place in SOURCES if place not in docs]
    found += [f"{at}: no source {s}" for at, named in SOURCES.items() for s in named if s not in docs.get(at, s)]
    for module in packages.modules:
        for match in re.finditer(r"arXiv\W{1,2}(\d{4}\.\d{4,5})", module.text):
            name = PAPERS.get(match[1], "no known paper")
            if name not in module.text[max(0, match.start() - 120) : match.end() + 120]:
                found.append(f"{module.name}: arXiv:{match[1]} is {name}")
    return found


RULES = {rule.__name__: rule for rule in (present, shapes, types, units, errors, stale, results, letters, sources)}


@pytest.mark.parametrize("rule", RULES)
def test_public_docstrings(rule: str, packages: Packages) -> None:
    found = RULES[rule](packages)
    assert not found, f"{len(found)}:\n" + "\n".join(found)


# ------------------------------------------------------------------------------------------------- the rules themselves

BAD = {
    "present": ("def f(x):\n    return x", "f: no docstring"),
    "shapes": ("def f(x: np.ndarray):\n    '''Twice x.'''", "f: x has no shape"),
    "types": ("def f(mask: np.ndarray):\n    '''Area of [H, W].'''", "f: mask has no dtype"),
    "units": ("def f(boxes: np.ndarray):\n    '''Area of float [n, 4].'''", "f: boxes has no unit"),
    "errors": ("def f():\n    '''One.'''\n    _g()\ndef _g():\n    raise InputError", "f: raises InputError and"),
    "stale": ("def f(x):\n    '''Half.\n\n    Args:\n        y: a number.\n    '''", "f: Args names 'y'"),
    "results": ("def f() -> np.ndarray:\n    '''Ones.'''", "f: the result has no shape"),
    "letters": ("def f(x: np.ndarray):\n    '''Half of float [Q, 4].'''", "f: nothing says what Q is"),
    "sources": ("'''He et al., arXiv:1703.06807.'''", "arXiv:1703.06807 is no known paper"),
}

SOUND = '''
"""Boxes are (y1, x1, y2, x2) in pixels. Legend: N batch."""

@dataclass
class Found:
    """What was found.

    Attributes:
        boxes: int [n, 4].
        ids, scores: [n].
    """
    boxes: np.ndarray
    ids: np.ndarray
    scores: np.ndarray

def find(images: np.ndarray, window: Sequence[int], least: float = 0.5) -> Found:
    """What is in some images.

    Args:
        images: uint8 [N, H, W, 3].
        window: (y1, x1, y2, x2).
        least: score.

    Raises:
        InputError: there is no image.
    """
    return _checked(images)

def taken(images: np.ndarray) -> np.ndarray:
    """bool [N], which images `find` would take."""
    try:
        return _checked(images)
    except ValueError:
        return np.zeros(0, bool)

def _checked(images):
    raise InputError("no image")

class InputError(ValueError):
    """A mistake."""
'''


def complaints(rule: str, source: str) -> list[str]:
    """Return what a rule says about a file, without the places."""
    return [line.split(" ", 1)[1] for line in RULES[rule](Packages([Module("mrcnn/x.py", source)]))]


@pytest.mark.parametrize("rule", RULES)
def test_a_fault_is_found(rule: str) -> None:
    source, expected = BAD[rule]
    assert any(line.startswith(expected) for line in complaints(rule, source))


@pytest.mark.parametrize("rule", [name for name in RULES if name != "sources"])
def test_sound_docstrings_pass(rule: str) -> None:
    assert complaints(rule, SOUND) == []


def test_an_error_that_nothing_raises_is_reported() -> None:
    text = SOUND.replace("InputError: there is no image.", "KeyError: there is no image.")
    assert complaints("errors", text) == [
        "find: raises InputError and does not say so",
        "find: does not raise 'KeyError'",
    ]


def test_a_field_or_parameter_that_is_gone_is_reported() -> None:
    text = SOUND.replace("    scores: np.ndarray\n", "").replace(", least: float = 0.5", "")
    assert complaints("stale", text) == [
        "Found: Attributes names 'scores', which is none",
        "find: Args names 'least', which is no parameter",
    ]


def test_functions_that_write_a_file_need_not_repeat_its_errors() -> None:
    files = "class InputError(ValueError):\n    pass\ndef write_json():\n    raise InputError('disk full')"
    writer = "from mrcnn.files import write_json\ndef save():\n    '''Write a file.'''\n    write_json()"
    other = writer.replace("mrcnn.files", "mrcnn.other")
    found = [
        errors(Packages([Module(f"{module}.py", files), Module("mrcnn/x.py", source)]))
        for module, source in (("mrcnn/files", writer), ("mrcnn/other", other))
    ]
    assert not any("save" in line for line in found[0])
    assert any("save: raises InputError and does not say so" in line for line in found[1])


def test_a_method_may_refer_to_the_method_of_that_name_in_another_class() -> None:
    text = (
        "class Maker:\n    def make(self, image: np.ndarray):\n        '''Make of uint8 [H, W, 3].'''\n"
        "class Face:\n    def make(self, image: np.ndarray):\n        '''Make, see `Maker.make`.'''\n"
    )
    assert complaints("shapes", text) == complaints("types", text) == []
    assert complaints("shapes", text.replace("`Maker.make`", "`Face.make`")) == ["Face.make: image has no shape"]
