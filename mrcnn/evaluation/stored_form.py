"""Check that a parsed result.json has the form of `mrcnn.evaluation.result`, before anything relies on it."""

import dataclasses
import types
import typing
from typing import Any

from mrcnn.errors import InputError, json_type
from mrcnn.evaluation import result as forms

WHOLE: dict[Any, tuple[str, ...]] = {  # the fields that must be there
    forms.CocoFigures: forms.TWELVE,
    forms.ClassFigures: ("mask", "box"),
    forms.MatterportFigures: ("mAP50",),
    forms.ErrorSplit: ("delta_ap", "counts"),
    forms.ImageFigures: ("image", "objects", "AP50"),
}
_NUMBERS = {float: int | float, int: int, str: str, bool: bool}


def check_form(value: Any, form: Any, place: str) -> None:
    """Check a JSON value against the type of a field.

    Earlier versions wrote fewer fields: of the types of result.py only those in WHOLE, which comparisons read, must be
    there. Fields that a type does not have may hold anything.

    Args:
        value: the parsed value.
        form: a dataclass of figures, or a type of one of their fields.
        place: of the value, for the message.

    Raises:
        InputError: it is of another type; the message names the place.
    """
    if typing.get_origin(form) in (types.UnionType, typing.Union):
        _check_union(value, typing.get_args(form), place)
    elif dataclasses.is_dataclass(form):
        hints = typing.get_type_hints(form, localns=_ELSEWHERE)
        needed = WHOLE.get(form, ()) if form.__module__ == forms.__name__ else tuple(hints)
        for field in dataclasses.fields(form):
            if field.metadata.get("json", True) and field.name in _expect(value, dict, place):
                check_form(value[field.name], hints[field.name], f"{place}.{field.name}")
            elif field.name in needed:
                raise InputError(f"{place}.{field.name} is missing")
    elif typing.get_origin(form) is dict:
        for key, item in _expect(value, dict, place).items():
            check_form(item, typing.get_args(form)[1], f"{place}.{key}")
    elif typing.get_origin(form) is list:
        for number, item in enumerate(_expect(value, list, place)):
            check_form(item, typing.get_args(form)[0], f"{place}[{number}]")
    elif form in _NUMBERS:
        _expect(value, _NUMBERS[form], place)


# Types that result.py names for type checkers only: none of them is in the file
_ELSEWHERE = {name: Any for name in ("Entry", "Table", "Store")}


def _check_union(value: Any, choices: tuple[Any, ...], place: str) -> None:
    if value is None or value == {}:  # how nothing is written
        if type(None) not in choices:
            raise InputError(f"{place} is {json_type(value)}")
        return
    others = [choice for choice in choices if choice is not type(None)]
    if len(others) == 1:
        check_form(value, others[0], place)
    else:
        _expect(value, tuple(_NUMBERS[choice] for choice in others), place)


def _expect(value: Any, kinds: Any, place: str) -> Any:
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        raise InputError(f"{place} is {json_type(value)}, which this version does not write there")
    if isinstance(value, int | float) and not abs(value) < 1e300:  # true of NaN too
        raise InputError(f"{place} is {value!r:.40}, which is no figure")
    return value
