"""docs/settings.md is what `python -m tests.project.test_settings_page` makes of the settings."""

import pathlib

from bdd100k.cli import CONFIGS
from bdd100k.settings_help import as_markdown

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "settings.md"


def test_page_is_up_to_date():
    assert PAGE.read_text() == as_markdown(CONFIGS), "run python -m tests.project.test_settings_page"


if __name__ == "__main__":
    PAGE.write_text(as_markdown(CONFIGS))
