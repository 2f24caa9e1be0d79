"""The schema of prefork.toml allows what the parsers allow."""

from __future__ import annotations

from prefork.config.options import NAMES
from prefork.config.schema import make_schema


def test_the_schema_has_every_name_and_no_other() -> None:
    schema = make_schema()
    assert set(schema["properties"]) == set(NAMES)
    assert schema["additionalProperties"] is False
    assert schema["type"] == "object"
    assert "required" not in schema or schema["required"] == []


def test_a_property_explains_itself() -> None:
    properties = make_schema()["properties"]
    assert properties["keep-alive"] == {
        "description": "How long a connection may idle between requests.",
        "default": 5.0,
        "anyOf": [{"type": "integer"}, {"type": "number"}, {"type": "string"}],
    }
    assert properties["loop"]["enum"] == ["asyncio", "auto", "uvloop"]
    assert properties["factory"]["type"] == "boolean"
