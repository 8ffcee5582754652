"""Describe all settings of mrcnn/config.py, for --help-settings and docs/settings.md."""

import argparse
import itertools
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mrcnn.config import Config, Setting, settings

INTRODUCTION = """\
# Settings

`--set KEY=VALUE` changes a setting for one run, a subclass of `Config` for a project. The table is made from
[mrcnn/config.py](../mrcnn/config.py), which also checks every value; `scripts/train.py --help-settings` prints it.
Values are Python literals: `--set RPN_ANCHOR_SCALES="(16, 32, 64, 128, 256)"`. A default that is not the same for all
of the settings that `--config` names has them behind it.
"""


class ShowSettings(argparse.Action):
    """The option that prints all settings and exits."""

    def __init__(
        self, option_strings: Sequence[str], dest: str, configs: Mapping[str, type[Config]], help: str | None = None
    ) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)
        self.configs = configs

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print the settings and exit with code 0."""
        sys.stdout.write(as_text(self.configs))
        parser.exit()


def as_text(configs: Mapping[str, type[Config]]) -> str:
    """Return all settings for a terminal of 80 columns.

    Args:
        configs: `--config` name -> settings, whose defaults are shown where they differ from `Config`.
    """
    lines = []
    for section, group in _sections():
        lines += [section, ""]
        for setting in group:
            meaning = textwrap.fill(f"{setting.about} Give {setting.rule}.", 74, break_on_hyphens=False)
            lines += [f"  {setting.name} = {defaults(setting, configs)}", textwrap.indent(meaning, "      "), ""]
    return "\n".join(lines)


def as_markdown(configs: Mapping[str, type[Config]]) -> str:
    """Return docs/settings.md; `configs` as in `as_text`."""
    lines = [INTRODUCTION]
    for section, group in _sections():
        lines += [f"## {section}\n", "| setting | default | values | meaning |", "|---|---|---|---|"]
        lines += [f"| `{s.name}` | {defaults(s, configs)} | {s.rule} | {s.about} |" for s in group]
        lines.append("")
    return "\n".join(lines)


def defaults(setting: Setting, configs: Mapping[str, type[Config]]) -> str:
    """Return the default of a setting, and in parentheses those of `configs` that differ."""
    general = _value(Config, setting.name)
    others = {name: _value(config, setting.name) for name, config in configs.items()}
    differing = [f"{name}: {value}" for name, value in others.items() if value != general]
    return general + (f" ({', '.join(differing)})" if differing else "")


def _value(config: type[Config], name: str) -> str:
    value = getattr(config, name)
    return str(value.tolist() if hasattr(value, "tolist") else value)


def _sections() -> Iterator[tuple[str, Iterator[Setting]]]:
    return itertools.groupby(settings().values(), lambda setting: setting.section)
