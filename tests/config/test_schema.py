"""The schema of prefork.toml allows what the parsers allow."""

from __future__ import annotations

from prefork.config.options import NAMES
from prefork.config.schema import make_schema


def test_the_schema_has_every_name_and_no_other() -> None:
    schema = make_schema()
    assert set(schema["properties"]) == {*NAMES, "profile"}
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


def test_apps_and_profiles_have_the_same_keys_and_no_tables_within() -> None:
    schema = make_schema()
    app, profile = schema["$defs"]["app"], schema["$defs"]["profile"]
    assert set(app["properties"]) == {*NAMES, "profile"}
    assert set(profile["properties"]) == set(NAMES)
    assert app["properties"]["keep-alive"] == {"$ref": "#/properties/keep-alive"}
    for table in (app, profile):
        assert table["properties"]["app"] == {"$ref": "#/$defs/target"}
        assert table["additionalProperties"] is False
    assert schema["$defs"]["target"]["type"] == "string"
