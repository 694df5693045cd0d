"""How the configuration is read: a TOML file, flags and environment variables over it, and what is wrong with them in words.

A problem is told by its place in the file: `definitions.gold.preset: 'fo' is none of ignore, negative, ...`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from queuewatch_schemas.config import Configuration, KafkaSettings, Serve
from queuewatch_schemas.settings import place_of
from queuewatch_schemas.source_settings import KINDS

_FILES: Final = MappingProxyType(
    {
        "kafka": ("sasl_password_file", "tls_ca_file", "tls_certificate_file", "tls_key_file"),
        "wallboard": ("keys_file", "announcement_file"),
    }
)
"""The settings that are paths, by their tables."""


class ConfigurationError(ValueError):
    """The configuration cannot be used.  `problems` holds a line each: the place, what is wrong, what to do."""

    def __init__(self, path: Path | None, problems: list[str]) -> None:
        where = f"{path}: " if path is not None else ""
        several = "\n  ".join([f"{where}{len(problems)} problems", *problems])
        super().__init__(f"{where}{problems[0]}" if len(problems) == 1 else several)
        self.path = path
        self.problems = problems


def load(path: Path | None) -> Configuration:
    """The configuration in a TOML file, or all defaults for None.

    A relative path in the file is taken from the file's own folder.  Raises ConfigurationError with all problems found.
    """
    if path is None:
        return Configuration()
    try:
        text = path.read_bytes().decode("utf-8-sig")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(path, [f"cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(path, [f"is not UTF-8: byte {error.start} is no part of a character"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(path, [f"is not TOML: {error}"]) from None
    try:
        # Through JSON, where strictness refuses "20" for 20 and still makes tuples of lists and enums of words.
        text = json.dumps(table, default=str)
        configuration = Configuration.model_validate_json(text, strict=True, context={"folder": path.parent})
    except ValidationError as error:
        raise ConfigurationError(path, describe_problems(error)) from None
    changed: dict[str, BaseModel] = {}
    for name, fields in _FILES.items():
        settings: BaseModel = getattr(configuration, name)
        files = {field: path.parent / value for field in fields if (value := getattr(settings, field)) is not None}
        if files:
            changed[name] = settings.model_copy(update=files)
    return configuration.model_copy(update=changed) if changed else configuration


def configuration_path(flag: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Which file to load: the flag's, else that of QUEUEWATCH_CONFIG, else none."""
    return flag or (Path(environment["QUEUEWATCH_CONFIG"]) if environment.get("QUEUEWATCH_CONFIG") else None)


def override(
    configuration: Configuration,
    *,
    brokers: str | None = None,
    metrics_port: int | None = None,
    wallboard_port: int | None = None,
    host: str | None = None,
    environment: Mapping[str, str],
) -> Configuration:
    """The configuration with flags (the keywords) and environment variables laid over it, flags first.

    An empty variable is as none.  Raises ConfigurationError that names the flag or the variable that cannot be used.
    """
    changes: dict[str, dict[str, Any]] = {"kafka": {}, "serve": {}}
    origin: dict[str, str] = {}
    for table, field, flag in (
        ("kafka", "brokers", brokers),
        ("serve", "metrics_port", metrics_port),
        ("serve", "wallboard_port", wallboard_port),
        ("serve", "host", host),
    ):
        variable = f"QUEUEWATCH_{field.upper()}"
        # An address to listen on is no matter of the environment: a forgotten variable would open a port to the world.
        told = None if field == "host" else environment.get(variable) or None
        value: Any = flag if flag is not None else told
        if value is not None:
            changes[table][field] = value
            origin[f"{table}.{field}"] = f"--{field.replace('_', '-')}" if flag is not None else variable
    if not origin:
        return configuration
    try:
        kafka = KafkaSettings.model_validate({**configuration.kafka.model_dump(), **changes["kafka"]})
        serve = Serve.model_validate({**configuration.serve.model_dump(), **changes["serve"]})
    except ValidationError as error:
        prefix = "kafka" if error.title == KafkaSettings.__name__ else "serve"
        problems = []
        for each in error.errors():
            culprit = origin.get(f"{prefix}.{place_of(each['loc'])}") or ", ".join(origin.values())
            problems.append(f"{culprit}: {_sentence(each, KafkaSettings)}")
        raise ConfigurationError(None, problems) from None
    return configuration.model_copy(update={"kafka": kafka, "serve": serve})


def describe_problems(error: ValidationError) -> list[str]:
    """What is wrong, a line each: the place in the file as TOML writes it, then the fault in words."""
    problems: list[str] = []
    for each in error.errors():
        if each["type"] == "references":
            problems += each["ctx"]["problems"]
        else:
            place = place_of(part for part in each["loc"] if part not in KINDS)
            sentence = _sentence(each, _model_at(each["loc"][:-1]))
            problems.append(f"{place}: {sentence}" if place else sentence)
    return problems


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The settings class in an annotation such as `Limits` or `Mapping[Name, Definition]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not None:
        for inner in get_args(annotation):
            yield from _models(inner)


def _model_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    """The settings class at a place in the file; a table of names (definitions, queues) stands for its elements."""
    model: type[BaseModel] = Configuration
    for part in location:
        if isinstance(part, str) and part in KINDS:
            model = KINDS[part]
        elif isinstance(part, str) and part in model.model_fields:
            model = next(_models(model.model_fields[part].annotation), model)
    return model


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "float_type": "no number",
        "float_parsing": "no number",
        "int_type": "no whole number",
        "int_parsing": "no whole number",
        "int_from_float": "no whole number",
        "string_type": "no text in quotes",
        "path_type": "no path in quotes",
        "tuple_type": 'no list; write it as in ["one", "two"]',
        "dict_type": "no table of names",
        "mapping_type": "no table of names",
        "model_type": "no table of settings",
        "model_attributes_type": "no table of settings",
        "finite_number": "no finite number",
    }
)


def _sentence(error: ErrorDetails, model: type[BaseModel]) -> str:
    """One problem in words; `model` is the settings class that holds the place, for the names it knows."""
    kind, value, context = error["type"], _shown(error["input"]), error.get("ctx", {})
    if kind == "extra_forbidden":
        near = get_close_matches(str(error["loc"][-1]), list(model.model_fields), n=1)
        known = ", ".join(model.model_fields)
        return f"no such setting; did you mean {near[0]}?" if near else f"no such setting; known here: {known}"
    if kind in ("enum", "literal_error"):
        return f"{value} is none of {str(context['expected']).replace(' or ', ', ').replace(chr(39), '')}"
    if kind == "missing":
        return "is missing"
    if kind == "union_tag_not_found":
        return f"kind is missing; it is one of {', '.join(KINDS)}"
    if kind == "union_tag_invalid":
        return f"kind: {_shown(context['tag'])} is none of {', '.join(KINDS)}"
    if kind in _KINDS:
        return f"{value} is {_KINDS[kind]}"
    if kind in ("too_short", "string_too_short"):
        return "is empty"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        words = {
            "greater_than": ("gt", "is not above"),
            "greater_than_equal": ("ge", "is below"),
            "less_than": ("lt", "is not below"),
            "less_than_equal": ("le", "is above"),
        }
        bound, word = words[kind]
        return f"{value} {word} {context[bound]:g}" + (
            "; write a share, as in 0.8 for 80 %" if context[bound] == 1 and kind == "less_than_equal" else ""
        )
    if kind == "value_error":
        return str(context["error"])
    return error["msg"]
