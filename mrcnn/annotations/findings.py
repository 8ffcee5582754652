"""Findings about a data set: their kinds, what training does about each, and the report that collects them.

Readers of labels and checks of whole data sets both write into it, so a fault has one name wherever it is found.
"""

import dataclasses
from collections import Counter
from typing import Any


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of finding: a problem or only a note, and what training does where it meets one."""

    problem: bool
    training: str


KINDS = {
    "missing image": Kind(True, "left out"),
    "unreadable image": Kind(True, "left out"),
    "broken image": Kind(True, "stops where it comes to this image"),
    "size differs": Kind(True, "left out"),
    "duplicate image": Kind(True, "the first is kept"),
    "image in two splits": Kind(True, "kept: the evaluation sees what was trained on"),
    "unusable frame": Kind(True, "left out"),
    "unusable label": Kind(True, "left out"),
    "unknown name": Kind(True, "left out"),
    "no area": Kind(True, "left out"),
    "outside the image": Kind(True, "cut at the border"),
    "self-crossing outline": Kind(True, "kept as it is filled: what is enclosed twice is outside"),
    "duplicate object": Kind(True, "kept"),
    "no masks": Kind(True, "impossible"),
    "image without labels": Kind(False, "left out"),
    "image without objects": Kind(False, "passed over, unless TRAIN_EMPTY_IMAGES"),
    "box without mask": Kind(False, "left out, unless boxes may serve as masks"),
    "hidden object": Kind(False, "left out: labels that lie nearer cover it"),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: a key of KINDS.
        detail: what was found, in words.
        file: the label file or the image file that has it.
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
class Report:
    """What a check saw.

    Attributes:
        source: the folder or label file.
        images, objects: how many there are to train on.
        classes: objects by class name, every class of the data set included.
        unknown: labels by a class name that the data set does not know.
        findings: in the order in which they were found.
    """

    source: str
    images: int = 0
    objects: int = 0
    classes: Counter[str] = dataclasses.field(default_factory=Counter)
    unknown: Counter[str] = dataclasses.field(default_factory=Counter)
    findings: list[Finding] = dataclasses.field(default_factory=list)

    def add(self, kind: str, detail: str, file: Any, **where: str | None) -> None:
        """Note a finding; `where` may have place, image and label."""
        assert kind in KINDS, kind
        self.findings.append(Finding(kind, detail, str(file), **where))

    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind, in the order of KINDS, without zeros."""
        found = Counter(finding.kind for finding in self.findings)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    @property
    def problems(self) -> int:
        """The number of findings that are more than notes."""
        return sum(count for kind, count in self.counts().items() if KINDS[kind].problem)

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for json.dump."""
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
                for f in self.findings
            ],
        }


def report_lines(report: Report, most: int = 3) -> list[str]:
    """The report as text: the problems before the notes, each kind with its count and its first findings.

    Args:
        report: what a check returned.
        most: findings to name for each kind.
    """
    lines = [f"{report.source}: {report.images} images, {report.objects} objects"]
    present = ", ".join(f"{count} {name}" for name, count in report.classes.items() if count)
    lines.append("  " + (present or "no objects"))
    if absent := [name for name, count in report.classes.items() if not count]:
        lines.append(f"  without objects: {', '.join(absent)}")
    counts = report.counts()
    for kind in sorted(counts, key=lambda kind: not KINDS[kind].problem):
        severity = "PROBLEM" if KINDS[kind].problem else "note"
        lines.append(f"  {severity:8} {kind}: {counts[kind]} (training: {KINDS[kind].training})")
        if kind == "unknown name" and report.unknown:
            names = [f"{count} {name!r}" for name, count in report.unknown.most_common(10)]
            more = len(report.unknown) - len(names)
            lines.append("           " + ", ".join(names) + (f" and {more} more names" if more else ""))
        found = [finding for finding in report.findings if finding.kind == kind]
        lines += [f"           {finding}" for finding in found[:most]]
        if len(found) > most:
            lines.append(f"           ... and {len(found) - most} more")
    return lines
