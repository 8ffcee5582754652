"""Findings about a data set: what is wrong or missing, and what training does about it.

The label readers and the checks of whole data sets both report here, so a fault has one name wherever it is found.
"""

import dataclasses
from collections import Counter
from typing import Any


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of finding: a problem or only a note, and what training does when it meets one."""

    problem: bool
    training: str


UNKNOWN_NAME = "unknown name"
MISSING_IMAGE = "missing image"
NO_LABELS = "image without labels"
CROWD = "crowd or ignored object"
KINDS = {
    MISSING_IMAGE: Kind(True, "left out"),
    "unreadable image": Kind(True, "left out"),
    "broken image": Kind(True, "stops when it reaches this image"),
    "size differs": Kind(True, "left out"),
    "duplicate image": Kind(True, "the first is kept"),
    "image in two splits": Kind(True, "kept: the evaluation sees images that were trained on"),
    "unusable frame": Kind(True, "left out"),
    "unusable label": Kind(True, "left out"),
    "unusable masks": Kind(True, "stops when it reaches this image"),
    UNKNOWN_NAME: Kind(True, "left out"),
    "no area": Kind(True, "left out"),
    "outside the image": Kind(True, "cut off at the border"),
    "self-crossing outline": Kind(True, "kept as filled: areas enclosed twice are outside"),
    "duplicate object": Kind(True, "kept"),
    "soft mask": Kind(True, "cut at half of the maximum"),
    "no masks": Kind(True, "impossible"),
    "only crowds": Kind(True, "impossible"),
    NO_LABELS: Kind(False, "left out"),
    "image without objects": Kind(False, "skipped, unless TRAIN_EMPTY_IMAGES"),
    "box without mask": Kind(False, "left out, unless boxes may serve as masks"),
    "void pixels": Kind(False, "left out"),
    "hidden object": Kind(False, "left out: nearer labels cover it"),
    CROWD: Kind(False, "neither an object nor background"),
    "one name, several categories": Kind(False, "one class"),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault or note.

    Attributes:
        kind: a key of KINDS.
        detail: the fault in words.
        file: the label file or image file that has it.
        place: where in the file, such as "frame 3".
        image: name of the image.
        label: id of the label.
    """

    kind: str
    detail: str
    file: str
    place: str | None = None
    image: str | None = None
    label: str | None = None

    @property
    def where(self) -> str:
        """'labels.json, frame 3 (a.jpg), label '7''."""
        place = f", {self.place}" if self.place else ""
        image = f" ({self.image})" if self.image else ""
        return f"{self.file}{place}{image}" + (f", label {self.label!r}" if self.label is not None else "")

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}"


@dataclasses.dataclass
class Findings:
    """Everything that readers and checks report about a data set.

    Attributes:
        source: the folder or label file.
        images, objects: how many there are to train on; crowds and ignored objects are not among them.
        classes: objects by class name, including classes without objects.
        unknown: labels of categories that the data set does not know, by name; they are left out.
        stuff: labels of known categories that have no instances (road, sky), by name; they are left out.
        boxes_left_out: objects that were left out because they have a box and no mask.
        entries: in the order in which they were found.
    """

    source: str
    images: int = 0
    objects: int = 0
    classes: Counter[str] = dataclasses.field(default_factory=Counter)
    unknown: Counter[str] = dataclasses.field(default_factory=Counter)
    stuff: Counter[str] = dataclasses.field(default_factory=Counter)
    boxes_left_out: int = 0
    entries: list[Finding] = dataclasses.field(default_factory=list)

    def add(self, kind: str, detail: str, file: Any, **where: str | None) -> None:
        """Add a finding; `where` may hold place, image and label."""
        assert kind in KINDS, kind
        self.entries.append(Finding(kind, detail, str(file), **where))

    def include(self, other: "Findings") -> None:
        """Add what reading another label file found."""
        self.source = ", ".join(filter(None, [self.source, other.source]))
        self.entries += other.entries
        self.unknown += other.unknown
        self.stuff += other.stuff
        self.boxes_left_out += other.boxes_left_out

    def counts(self) -> dict[str, int]:
        """Return the number of findings of each kind, in the order of KINDS, without zeros."""
        found = Counter(finding.kind for finding in self.entries)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def images_of(self, kind: str) -> list[str]:
        """Return the names of the images that have a finding of a kind."""
        return [finding.image or finding.file for finding in self.entries if finding.kind == kind]

    def unusable(self) -> list[Finding]:
        """Return the findings about labels and images that are there and cannot be used.

        Images without a file or without labels, and labels whose categories are counted in `unknown`, are not among
        them: there may be thousands, and a count with a few names says as much.
        """
        summed_up = {MISSING_IMAGE, NO_LABELS} | ({UNKNOWN_NAME} if self.unknown else set())
        return [finding for finding in self.entries if finding.kind not in summed_up]

    @property
    def problems(self) -> int:
        """The number of findings that are more than notes."""
        return sum(count for kind, count in self.counts().items() if KINDS[kind].problem)

    def to_json(self) -> dict[str, Any]:
        """Return everything in a form that json.dump can write."""
        return {
            "source": self.source,
            "images": self.images,
            "objects": self.objects,
            "classes": dict(self.classes),
            "unknown": dict(self.unknown.most_common()),
            "problems": self.problems,
            "counts": self.counts(),
            "findings": [
                {"severity": "problem" if KINDS[f.kind].problem else "note", **dataclasses.asdict(f)}
                for f in self.entries
            ],
        }


def listing(counts: Counter[str]) -> str:
    """Return "3 'chair', 1 'horse'", the most frequent first."""
    return ", ".join(f"{count} {name!r}" for name, count in counts.most_common())


def report_lines(findings: Findings, limit: int = 3) -> list[str]:
    """Return the findings as text: problems before notes, each kind with its count and its first findings.

    Args:
        findings: what a check returned.
        limit: findings of each kind to name.
    """
    lines = [f"{findings.source}: {findings.images} images, {findings.objects} objects"]
    present = ", ".join(f"{count} {name}" for name, count in findings.classes.items() if count)
    lines.append("  " + (present or "no objects"))
    if absent := [name for name, count in findings.classes.items() if not count]:
        lines.append(f"  without objects: {', '.join(absent)}")
    counts = findings.counts()
    for kind in sorted(counts, key=lambda kind: not KINDS[kind].problem):
        severity = "PROBLEM" if KINDS[kind].problem else "note"
        lines.append(f"  {severity:8} {kind}: {counts[kind]} (training: {KINDS[kind].training})")
        if kind == UNKNOWN_NAME and findings.unknown:
            names = [f"{count} {name!r}" for name, count in findings.unknown.most_common(10)]
            more = len(findings.unknown) - len(names)
            lines.append("           " + ", ".join(names) + (f" and {more} more names" if more else ""))
        found = [finding for finding in findings.entries if finding.kind == kind]
        lines += [f"           {finding}" for finding in found[:limit]]
        if len(found) > limit:
            lines.append(f"           ... and {len(found) - limit} more")
    return lines
