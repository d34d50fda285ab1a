"""What is wrong with settings that a person wrote, in one line: unknown keys are named with the nearest known one."""

import difflib
import re
import types
import typing
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from understudy.errors import ConfigError

Model = typing.TypeVar("Model", bound=BaseModel)


def checked(
    model: type[Model],
    data: dict,
    where: str,
    error: type[Exception],
    *,
    places: Mapping[tuple[str, ...], str] | None = None,
) -> Model:
    """`data` as a `model`. Raises `error`, which says what is wrong with which key of the file `where`.

    `places` has line and column of each value by its keys; YAML's own reading of text without quotes is then explained.
    """
    try:
        return model.model_validate(data)
    except ValidationError as found:
        told = "; ".join(_explain(model, e) + _remedy(e, places or {}) for e in found.errors())
        raise error(f"{where}: {told}") from None


def _remedy(error: typing.Any, places: Mapping[tuple[str, ...], str]) -> str:
    """Where a text stands that YAML has read as something else, and that it needs quotes."""
    place = places.get(tuple(str(part) for part in error["loc"]))
    if place is None or error["type"] not in ("string_type", "string_sub_type"):
        return ""
    read = "nothing" if error["input"] is None else type(error["input"]).__name__
    return f" ({place}: without quotes YAML reads it as {read}; put quotes around it)"


def overridden(settings: Model, changes: dict[str, typing.Any]) -> Model:
    """`settings` with the `changes` that are not None, which come from the command line.

    Raises:
        ConfigError: a change is unknown or has a wrong value; the message names its option.
    """
    wanted = {name: value for name, value in changes.items() if value is not None}
    try:
        return type(settings).model_validate({**settings.model_dump(), **wanted})
    except ValidationError as found:
        first = found.errors()[0]
        if not first["loc"]:
            raise ConfigError(first["msg"].removeprefix("Value error, ")) from None
        name = str(first["loc"][0])
        if first["type"] != "extra_forbidden":
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"{option}: {first['msg']}, found {first['input']!r}") from None
        known = type(settings).model_fields
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known settings: {', '.join(known)}"
        raise ConfigError(f"--set {name}: there is no such setting of training; {hint}") from None


def _explain(model: type[BaseModel], error: typing.Any) -> str:
    parts = [str(part) for part in error["loc"]]
    if error["type"] != "extra_forbidden":
        parts = [part for part in parts if re.fullmatch(r"\w+", part)]  # not the names of a union's members
    *parents, key = parts or [""]
    at = ".".join([*parents, key])
    if error["type"] == "extra_forbidden":
        known = list(_fields(model, parents))
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.6) or _near_below(model, key)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {at!r}; {hint}"
    if error["type"] == "missing":
        return f"missing key {at!r}"
    if error["type"] == "value_error" and not at:
        return error["msg"].removeprefix("Value error, ")
    return f"{at}: {error['msg'].removeprefix('Value error, ')}, found {error['input']!r}"


def _near_below(model: type[BaseModel], key: str) -> list[str]:
    """The nearest key one level down: people forget under which heading a setting goes."""
    below = [
        f"{name}.{key_below}"
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for key_below in field.annotation.model_fields
    ]
    near = difflib.get_close_matches(key, [path.partition(".")[2] for path in below], n=1, cutoff=0.8)
    return [path for path in below if path.partition(".")[2] in near]


def _fields(model: type[BaseModel], parents: list[str]) -> dict[str, typing.Any]:
    for name in parents:
        if name.isdecimal():
            continue  # a place in a list
        annotation = model.model_fields[name].annotation
        if isinstance(annotation, types.UnionType):
            annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
        if typing.get_origin(annotation) is list:
            annotation = typing.get_args(annotation)[0]
        model = typing.cast(type[BaseModel], annotation)
    return {name: field for name, field in model.model_fields.items() if not field.exclude}
