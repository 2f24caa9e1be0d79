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
    (schema,), definitions = msgspec.json.schema_components([document])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "prefork.toml",
        **{key: value for key, value in definitions["prefork_toml"].items() if key != "title"},
        **({} if "$ref" in schema else schema),
    }


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
