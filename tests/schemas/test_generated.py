"""The generated documents: as committed, as AsyncAPI asks, and true to the models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pydantic import TypeAdapter

from queuewatch_schemas import examples
from queuewatch_schemas.config import Configuration
from queuewatch_schemas.events import EVENT, EVENT_TYPES, Rejected, parse
from queuewatch_schemas.generate import (
    FOLDER,
    NOTE,
    asyncapi,
    documents,
    drifted,
    event_schema,
    example,
    main,
    record_schema,
    write,
)
from queuewatch_schemas.records import RECORDS

SAMPLES = {sample["type"]: sample for sample in examples.EVENTS}


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def resolve(document: Any, reference: str) -> Any:
    """What `#/a/b` points to; KeyError where it points nowhere."""
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


# ---------------------------------------------------------------------------------------------------------------- drift


def test_what_is_committed_is_what_the_models_say() -> None:
    """After a change of a model: python -m queuewatch_schemas.generate."""
    assert drifted(FOLDER) == []


def test_the_same_models_give_the_same_bytes() -> None:
    """Nothing in them depends on the hour or the machine."""
    assert documents() == documents()


def test_a_check_names_what_drifted_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed file, a missing one, and one too many; a run without --check puts all right."""
    assert main(["--folder", str(tmp_path)]) == 0
    assert main(["--check", "--folder", str(tmp_path)]) == 0
    capsys.readouterr()
    (tmp_path / "asyncapi.json").write_text("{}")
    (tmp_path / "configuration.json").unlink()
    (tmp_path / "event.call.forgotten.v1.json").write_text("{}")
    assert main(["--check", "--folder", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    for name in ("asyncapi.json", "configuration.json", "event.call.forgotten.v1.json"):
        assert name in told
    assert told.endswith("run: python -m queuewatch_schemas.generate\n")
    assert write(tmp_path) == ["asyncapi.json", "configuration.json", "event.call.forgotten.v1.json"]
    assert drifted(tmp_path) == []


@pytest.mark.parametrize("name", sorted(documents()))
def test_every_file_says_that_it_is_generated(name: str) -> None:
    """And by what."""
    document = json.loads(documents()[name])
    assert NOTE in (document.get("$comment"), document.get("x-note"))


# -------------------------------------------------------------------------------------------------------------- schemas


@pytest.mark.parametrize("name", sorted(name for name in documents() if name != "asyncapi.json"))
def test_every_schema_is_a_draft_07_schema_without_newer_words(name: str) -> None:
    """AsyncAPI's tools read no later draft; every reference leads somewhere."""
    document = json.loads(documents()[name])
    Draft7Validator.check_schema(document)
    newer = {
        "prefixItems",
        "unevaluatedProperties",
        "unevaluatedItems",
        "dependentSchemas",
        "$dynamicRef",
        "minContains",
    }
    for node in nodes(document):
        if "properties" in node or "type" in node or "$ref" in node:
            assert not newer & node.keys()
        if isinstance(node.get("$ref"), str):
            resolve(document, node["$ref"])


def test_every_type_of_event_has_an_example_that_parses() -> None:
    """Each once, and the worker's own reader takes it."""
    assert sorted(SAMPLES) == sorted(EVENT_TYPES)
    for sample in examples.EVENTS:
        assert parse(json.dumps(sample).encode()).type == sample["type"]


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_an_events_schema_takes_its_example_with_extra_fields(event_type: str) -> None:
    """Unknown extra fields are allowed, in the envelope and in data."""
    validator = Draft7Validator(event_schema(event_type))
    sample = SAMPLES[event_type]
    validator.validate(sample)
    validator.validate({**sample, "traceparent": "x", "data": {**sample["data"], "more": 1}})


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_schema_and_reader_refuse_the_same_gaps_and_wrong_types(event_type: str) -> None:
    """Leave out each field, and give each a value of another type: the schema and `parse` agree every time."""
    validator = Draft7Validator(event_schema(event_type))
    sample = SAMPLES[event_type]
    for field in sample:
        without = {name: value for name, value in sample.items() if name != field}
        for changed in (without, {**sample, field: 7}, {**sample, field: None}):
            assert validator.is_valid(changed) == accepted(changed), (field, changed)
    for field in sample["data"]:
        data = {name: value for name, value in sample["data"].items() if name != field}
        for changed_data in (data, {**sample["data"], field: {}}, {**sample["data"], field: None}):
            changed = {**sample, "data": changed_data}
            assert validator.is_valid(changed) == accepted(changed), (field, changed_data)


def accepted(event: dict[str, Any]) -> bool:
    """Whether the reader takes the event."""
    try:
        parse(json.dumps(event).encode())
    except Rejected:
        return False
    return True


@pytest.mark.parametrize("record", sorted(RECORDS))
def test_a_records_schema_takes_its_example_and_asks_for_every_field(record: str) -> None:
    """A record is written whole; what is unknown is null."""
    sample = {
        "queue-snapshot": example(examples.QUEUE_SNAPSHOT),
        "partition-news": example(examples.PARTITION_NEWS),
        "closed-interval": example(examples.CLOSED_INTERVAL),
        "dead-letter-headers": example(examples.DEAD_LETTER),
    }[record]
    schema = record_schema(record)
    Draft7Validator(schema).validate(sample)
    assert sorted(schema["required"]) == sorted(schema["properties"]) == sorted(sample)
    assert all("description" in each or "$ref" in each for each in schema["properties"].values())


def test_the_configurations_schema_takes_the_defaults() -> None:
    """As an editor sees them."""
    Draft7Validator(json.loads(documents()["configuration.json"])).validate(
        json.loads(Configuration().model_dump_json(exclude_none=True))
    )


# ------------------------------------------------------------------------------------------------------------- AsyncAPI


def test_the_asyncapi_document_has_what_version_3_asks_for() -> None:
    """The required fields, the allowed names, and references of the allowed kinds that all lead somewhere."""
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= document["info"].keys()
    allowed = {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"}
    assert {name for name in document if not name.startswith("x-")} <= allowed
    for server in document["servers"].values():
        assert {"host", "protocol"} <= server.keys()
    for name, channel in document["channels"].items():
        assert re.fullmatch(r"[A-Za-z0-9_\-.]+", name)
        assert isinstance(channel["address"], str)
        assert channel.keys() <= {"address", "description", "messages", "bindings"}
        for message, reference in channel["messages"].items():
            assert resolve(document, reference["$ref"])["name"].endswith(message)
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel_reference = operation["channel"]["$ref"]
        channel = resolve(document, channel_reference)
        assert operation["messages"]
        for reference in operation["messages"]:
            assert reference["$ref"].startswith(channel_reference + "/messages/")
            assert reference["$ref"].rsplit("/", 1)[1] in channel["messages"]
    for name in document["components"]["messages"]:
        assert re.fullmatch(r"[A-Za-z0-9_\-.]+", name)


def test_every_message_is_on_one_channel_and_every_schema_in_one_message() -> None:
    """Nothing is written down that nobody sends, and the files that are named exist."""
    document = asyncapi()
    placed = [name for channel in document["channels"].values() for name in channel["messages"]]
    assert sorted(placed) == sorted(document["components"]["messages"])
    named = [node["$ref"] for node in nodes(document) if str(node.get("$ref", "")).startswith("./")]
    assert sorted(reference.removeprefix("./") for reference in named) == sorted(
        name for name in documents() if name.startswith(("event.", "record."))
    )
    assert "agent.state.v1" in document["channels"]["agents"]["messages"]


def test_the_examples_in_the_asyncapi_document_fit_their_schemas() -> None:
    """Payloads and headers, by the files that they refer to."""
    files = documents()
    for message in asyncapi()["components"]["messages"].values():
        for part in ("payload", "headers"):
            if "schema" in message.get(part, {}):
                schema = json.loads(files[message[part]["schema"]["$ref"].removeprefix("./")])
                for sample in message["examples"]:
                    Draft7Validator(schema).validate(sample[part])


def test_the_union_of_all_events_takes_every_example() -> None:
    """The adapter that the worker reads with."""
    adapter: TypeAdapter[Any] = EVENT
    for sample in examples.EVENTS:
        assert adapter.validate_json(json.dumps(sample))["subject"] == sample["subject"]
