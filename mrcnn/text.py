"""Make text that comes from files fit for a terminal, a log line or a page."""

import re

# What can move the cursor, change colours, reverse the order of letters or break the encoding: control characters but
# tab and newline, marks and overrides of writing direction, line separators, and halves of surrogate pairs.
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HALF = re.compile(r"[\ud800-\udfff]")
LONGEST_CAPTION = 60  # characters of a name in a figure or a table
LONGEST = 2000  # characters of a message; beyond that nobody reads it


def printable(text: object, longest: int | None = None) -> str:
    r"""Return a text in which nothing acts on a terminal.

    Args:
        text: anything; what `str` makes of it is taken.
        longest: number of characters from which the middle is left out; None leaves all in.

    Returns:
        The text with unfit characters as escapes: \x1b, \u202e; bytes of a file name that are no UTF-8, too: \xff.
    """
    fit = str(text)
    if longest is not None and len(fit) > longest:
        tail = longest // 4
        left_out = len(fit) - longest
        fit = f"{fit[: longest - tail]} ... ({left_out} characters left out) ... {fit[-tail:]}"
    return _UNFIT.sub(_escaped, fit)


def figure_text(text: object) -> str:
    """Return a text, such as the name of a class, for a figure: short, on one line, and `$` is no formula."""
    return " ".join(printable(text, LONGEST_CAPTION).split("\n")).replace("$", r"\$")


def one_line(text: object, longest: int = 120) -> str:
    r"""Return text that comes from a file for a place inside a message: its beginning, with \n for newlines."""
    start = str(text)[: longest + 1]
    return printable(start if len(start) <= longest else start[:longest] + "...").replace("\n", r"\n")


def without_surrogates(text: str) -> str:
    r"""Return a text as it can be encoded: bytes of a file name that are no UTF-8, for example, become \xff."""
    return _HALF.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode keeps a byte that is no UTF-8 so
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
