"""Validates values against JSON Schemas.

Each line of standard input is a JSON array: a name for messages, the path of a schema, the name of one of its
definitions or null, whether the value is an array of such, whether the schema is closed (members that it does not have
are errors), and the value. Prints a line for each error.
"""

import functools
import json
import sys

from jsonschema import validators
from jsonschema.validators import Draft7Validator


def close(schema):
    """Forbids members that a schema does not have, in all its parts."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        schema = schema.values()
    if not isinstance(schema, str):
        for part in schema if hasattr(schema, "__iter__") else ():
            close(part)


@functools.cache
def validator(path, definition, is_list, is_closed):
    with open(path) as file:
        schema = json.load(file)
    if is_closed:
        close(schema)
    if definition is not None:
        schema = {"definitions": schema["definitions"], "$ref": f"#/definitions/{definition}"}
    if is_list:
        definitions = schema.pop("definitions", {})
        schema = {"definitions": definitions, "type": "array", "items": schema}
    cls = validators.validator_for(schema, default=Draft7Validator)
    return cls(schema, format_checker=cls.FORMAT_CHECKER)


for line in sys.stdin:
    name, path, definition, is_list, is_closed, value = json.loads(line)
    for error in validator(path, definition, is_list, is_closed).iter_errors(value):
        print(f"{name}: {error.json_path}: {error.message[:300]}")
