"""Holds answers against JSON Schemas.

Standard input has a line for each: a JSON array of a name for people, the path of a schema, the name of one of its
definitions or null, whether it is an array of such, and the answer. What is wrong is printed, a line for each error; nothing
is if all is well.
"""

import functools
import json
import sys

from jsonschema import validators
from jsonschema.validators import Draft7Validator


@functools.cache
def validator(path, definition, is_list):
    with open(path) as file:
        schema = json.load(file)
    if definition is not None:
        schema = {"definitions": schema["definitions"], "$ref": f"#/definitions/{definition}"}
    if is_list:
        definitions = schema.pop("definitions", {})
        schema = {"definitions": definitions, "type": "array", "items": schema}
    cls = validators.validator_for(schema, default=Draft7Validator)
    return cls(schema, format_checker=cls.FORMAT_CHECKER)


for line in sys.stdin:
    name, path, definition, is_list, answer = json.loads(line)
    for error in validator(path, definition, is_list).iter_errors(answer):
        print(f"{name}: {error.json_path}: {error.message[:300]}")
