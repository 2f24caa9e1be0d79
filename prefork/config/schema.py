"""The table of options → the JSON schema of a prefork.toml, for editors that complete and check."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from prefork.config.options import NAMES, Name, find_default


def make_schema() -> dict[str, Any]:
    """The schema, as JSON data. Aliases are in it too, since files may use them."""
    fields = [(name.key.replace("-", "_"), _annotate(name), msgspec.UNSET) for name in NAMES.values()]
    document = msgspec.defstruct(
        "prefork_toml", fields, rename="kebab", forbid_unknown_fields=True, kw_only=True
    )
    _, definitions = msgspec.json.schema_components([document])
    top = definitions["prefork_toml"]
    target = top["properties"]["app"]
    options = {key: {"$ref": f"#/properties/{key}"} for key in top["properties"]} | {
        "app": {"$ref": "#/$defs/target"}
    }
    profiles = {
        "description": "Keys that win when --profile asks for them.",
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/profile"},
    }
    apps = {"type": "object", "additionalProperties": {"$ref": "#/$defs/app"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "prefork.toml",
        "type": "object",
        "properties": {
            **top["properties"],
            "app": {
                "description": "Where the app is; or, as [app.NAME] tables, several apps.",
                "anyOf": [{"$ref": "#/$defs/target"}, apps],
            },
            "profile": profiles,
        },
        "additionalProperties": False,
        "$defs": {
            "target": target,
            "app": _make_table({**options, "profile": profiles}),
            "profile": _make_table(options),
        },
    }


def _make_table(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _annotate(name: Name) -> Any:
    extra: dict[str, Any] = {}
    if name.key == name.option.key and (default := find_default(name.option)) is not None:
        extra["default"] = default
    text = (
        name.option.help
        if name.key == name.option.key
        else f"The same as {name.option.key}. {name.option.help}"
    )
    meta = msgspec.Meta(description=text, extra_json_schema=extra)
    return Annotated[name.kind.toml_type | msgspec.UnsetType, meta]
