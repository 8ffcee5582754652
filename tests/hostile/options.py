"""Command lines of the scripts with values out of range, of wrong types, unknown or contradicting each other.

Every command line also names data that is missing, so that a good one ends before anything heavy. The message must name
the option for a bad value, and the missing data for a good one.
"""

import pathlib

import numpy as np

from mrcnn.errors import InputError
from tests.hostile.cases import Case, run_script

COUNT = ("0", "-1", "1.5", "many", "", "9" * 5000, "1e3", "nan")
SEED = ("-1", "4294967296", "1.5", "x", "")
SETTINGS = ("LEARNING_RATE", "=1", "LERNING_RATE=1", "LEARNING_RATE=fast", "LAYER_RATES={'((': 1}")
UNKNOWN = ("all-of-them", "", "\x1b[31m", "None")
COMMON = {
    "--config": (("streets", "custom"), UNKNOWN),
    "--classes": (("own", "bdd100k"), UNKNOWN),
    "--limit": (("1", "100"), COUNT),
    "--precision": (("float32", "bfloat16"), UNKNOWN),
    "--hold-out": (("5",), COUNT),
}
# script -> arguments that end with the missing data, and option -> (good values, bad values)
SCRIPTS: dict[str, tuple[tuple[str, ...], dict[str, tuple[tuple[str, ...], tuple[str, ...]]]]] = {
    "train.py": (
        ("--data", "{absent}"),
        {
            **COMMON,
            "--epochs": (("1", "100"), COUNT),
            "--stage": (("heads", "all", "5+", "res5.*|mrcnn_.*"), ("((", "[", "*a", "a{2,1}")),
            "--learning-rate": (("0.1", "1e-5"), ("0", "-1", "nan", "inf", "x", "100", "")),
            "--seed": (("0", "4294967295"), SEED),
            "--loaders": (("1", "8"), (*COUNT, "100000")),
            "--loader-kind": (("thread", "process"), UNKNOWN),
            "--augment": (("none", "lsj"), UNKNOWN),
            "--balance": (("class-aware",), UNKNOWN),
            "--class-weights": ((), UNKNOWN),
            "--recipe": (("seed", "zoo-1x"), UNKNOWN),
            "--val-images": (("0", "10"), COUNT[1:]),
            "--patience": (("3",), COUNT),
            "--save-every": (("3",), COUNT),
            "--keep": (("3",), COUNT),
            "--set": (("LEARNING_RATE=0.1", "NAME=mine"), SETTINGS),
            "--engine": (("local",), UNKNOWN),
            "--workers": ((), (*COUNT, "2")),  # without --engine ray it has no effect
            "--hosts": ((), ("a", "a:0,b:1", "a:1,a:1", ":1", "a:99999999,b:1", "")),
            "--host-index": ((), ("0", "-1", "x")),
            "--resume": ((), ("{absent}",)),
        },
    ),
    "evaluate.py": (
        ("--data", "{absent}"),
        {
            **COMMON,
            "--bootstrap": (("0", "100"), (*COUNT[1:], "10000000")),
            "--seed": (("0", "4294967295"), SEED),
            "--samples": (("1", "6"), COUNT),
            "--set": (("DETECTION_NMS_THRESHOLD=0.5",), SETTINGS),
        },
    ),
    "detect.py": (
        ("{absent}",),
        {
            "--min-score": (("0", "1", "0.5"), ("-0.1", "1.1", "nan", "inf", "x", "")),
            "--batch": (("1", "16"), COUNT),
            "--json": (("coco", "scalabel"), UNKNOWN),
            "--config": (("streets",), UNKNOWN),
            "--set": (("IMAGE_MAX_DIM=512",), SETTINGS),
        },
    ),
    "check_data.py": (
        ("--data", "{absent}"),
        {"--classes": (("own",), UNKNOWN), "--most": (("1", "50"), COUNT)},
    ),
    "data_statistics.py": (
        ("--data", "{absent}"),
        {"--classes": (("own",), UNKNOWN), "--limit": (("1",), COUNT), "--config": (("custom",), UNKNOWN)},
    ),
    "convert.py": (
        ("{absent}", "{folder}.json"),
        {"--to": (("coco", "bitmask"), UNKNOWN), "--masks": (("rle",), UNKNOWN)},
    ),
    "streets.py": (
        ("--out", "{file}/below"),  # not a folder
        {
            "--train": (("1",), COUNT[1:]),
            "--val": (("1",), COUNT[1:]),
            "--test": (("0",), COUNT[1:]),
            "--seed": (("0",), SEED),
            "--workers": ((), (*COUNT, "100000")),
        },
    ),
}
NEEDED = {"convert.py": {"--to": "coco"}, "streets.py": {"--train": "1", "--val": "0"}}
TOGETHER = (  # (script, arguments, what the message must name)
    ("train.py", ("--recipe", "seed", "--stage", "all"), "--stage"),
    ("train.py", ("--recipe", "seed", "--epochs", "1", "2", "3"), "--epochs"),
    ("train.py", ("--hosts", "a:1,b:1"), "--host-index"),
    ("train.py", ("--host-index", "0"), "--hosts"),
    ("train.py", ("--engine", "ray"), "--workers"),
    ("train.py", ("--resume", "{absent}", "--epochs", "3"), "--epochs"),
    ("train.py", ("--no-such-option",), "--no-such-option"),
    ("evaluate.py", ("--compare", "{absent}"), "--compare"),
    ("evaluate.py", ("--compare", "{absent}", "{absent}"), "--data"),
    ("evaluate.py", ("--predictions", "{absent}", "--weights", "streets"), "--weights"),
    ("detect.py", ("--no-pictures",), "--no-pictures"),
)


def case(rng: np.random.Generator, folder: pathlib.Path) -> Case:
    """Give a script one option with a good or a bad value, or options that contradict each other."""
    (folder / "file").write_text("")
    names = {f"{{{name}}}": str(folder / name) for name in ("absent", "folder", "file")}
    if rng.random() < 0.15:
        script, given, named = TOGETHER[rng.integers(len(TOGETHER))]
        arguments = [*SCRIPTS[script][0], *given] if script != "train.py" or "--resume" not in given else list(given)
    else:
        script = str(rng.choice(sorted(SCRIPTS), p=_shares()))
        base, options = SCRIPTS[script]
        option = str(rng.choice(sorted(options)))
        good, bad = options[option]
        value = str(rng.choice(good)) if good and rng.random() < 0.3 else str(rng.choice(bad))
        named = names["{file}" if script == "streets.py" else "{absent}"] if value in good else option
        needed = {key: text for key, text in NEEDED.get(script, {}).items() if key != option}
        arguments = [*base, *(part for pair in needed.items() for part in pair), f"{option}={value}"]
        if option == "--hosts":
            arguments.append("--host-index=0")
    for name, path in names.items():
        arguments = [part.replace(name, path) for part in arguments]

    def use() -> str:
        try:
            run_script(script, *arguments)
        except InputError as error:
            if named.lstrip("-") in str(error) or _setting(arguments) in str(error):
                raise
            return f"the message names something else than {named}: {error}"
        return "accepted"

    return Case(f"{script} {' '.join(arguments):.200}", use, lambda result: False)


def _shares() -> list[float]:
    """Return how often each script is tried: by the number of its options."""
    counts = np.array([len(SCRIPTS[name][1]) for name in sorted(SCRIPTS)])
    return list(counts / counts.sum())


def _setting(arguments: list[str]) -> str:
    """Return the name of the setting that --set gives, or a text that no message has."""
    texts = [text.removeprefix("--set=") for text in arguments if text.startswith("--set=")]
    return texts[0].partition("=")[0] if texts and texts[0].partition("=")[0] else "\x00"
