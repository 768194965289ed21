"""Checks that the OpenAPI documents named by the arguments are valid; prints each error."""

import json
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator

for path in sys.argv[1:]:
    with open(path) as file:
        document = json.load(file)
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        place = "/".join(str(part) for part in error.absolute_path) if hasattr(error, "absolute_path") else ""
        print(f"{path}: {place}: {error}"[:600])
