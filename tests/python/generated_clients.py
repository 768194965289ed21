"""Generates two clients from each OpenAPI document of a server, and uses both.

Arguments: the URL of the server, a folder for the generated code, and the names of the documents. The first line of standard
output lists what the generators complained about.

Each further line answers one of standard input, a JSON object: the `document`, the operation by its `id`, its `arguments` as the
generated function names them, and a JSON `body` or the path of a `file`. openapi-python-client's client sends the request and
reads the response. The models of datamodel-code-generator read the bodies of both. The answer has `status`, `location`, `body`
and `wrong`: where a generated class refuses a body, or returns another one than it has read.
"""

import contextlib
import datetime
import importlib
import inspect
import io
import json
import pathlib
import sys

import datamodel_code_generator as models_generator
import httpx
import openapi_python_client as client_generator
import pydantic
from datamodel_code_generator.format import Formatter
from openapi_python_client.config import Config, ConfigFile, MetaType
from openapi_python_client.strings import snake_case

# Files of any media type are read as they are. The generated code is not formatted.
SETTINGS = ConfigFile(
    content_type_overrides={"application/zip": "application/octet-stream", "*/*": "application/octet-stream"},
    post_hooks=[],
    http_timeout=60,
)


class Document:
    """A document and what is generated from it."""

    def __init__(self, url, folder, name):
        self.content = httpx.get(f"{url}/openapi/{name}", timeout=60).json()
        path = folder / name
        path.write_text(json.dumps(self.content))
        self.package = path.stem.replace("-", "_")
        with contextlib.redirect_stdout(io.StringIO()):
            complaints = client_generator.generate(
                config=Config.from_sources(SETTINGS, MetaType.NONE, path, "utf-8", False, folder / self.package)
            )
        self.complaints = [f"{name}: {one.header} {one.detail} {one.data}"[:1000] for one in complaints]
        models_generator.generate(
            path,
            input_file_type=models_generator.InputFileType.OpenAPI,
            output=folder / f"{self.package}_models.py",
            output_model_type=models_generator.DataModelType.PydanticV2BaseModel,
            formatters=[Formatter.BUILTIN],
        )
        servers = self.content.get("servers", [{"url": ""}])
        self.client = importlib.import_module(f"{self.package}.client").Client(
            base_url=url + servers[0]["url"], timeout=httpx.Timeout(60)
        )
        self.models = importlib.import_module(f"{self.package}_models")
        self.operations = {
            operation["operationId"]: operation
            for item in self.content["paths"].values()
            for operation in item.values()
        }

    def call(self, id, arguments, body=None, file=None):
        operation, wrong = self.operations[id], []
        module = importlib.import_module(f"{self.package}.api.{operation['tags'][0]}.{snake_case(id)}")
        if file is not None:
            types = importlib.import_module(f"{self.package}.types")
            arguments["body"] = types.File(payload=io.BytesIO(pathlib.Path(file).read_bytes()))
        elif body is not None:
            arguments["body"] = body_class(module).from_dict(body)
            wrong += differences("the body of the request", arguments["body"].to_dict(), body)
            wrong += self.read(operation["requestBody"]["content"], "the body of the request", body)
        response = module.sync_detailed(client=self.client, **arguments)
        status = int(response.status_code)
        answer = {"status": status, "location": response.headers.get("location"), "body": None, "wrong": wrong}
        described = operation["responses"].get(str(status), operation["responses"]["default"])
        media_type = response.headers.get("content-type", "").split(";")[0]
        if media_type.endswith("json") and "*/*" not in described.get("content", {}):
            answer["body"] = json.loads(response.content)
            wrong += differences("the client's", plain(response.parsed), answer["body"])
            wrong += self.read(described["content"], "the models'", answer["body"])
        elif response.content:
            content = response.parsed.payload.read()
            if content != response.content:
                wrong.append(f"the client has {content[:400]}, not {response.content[:400]}")
        return answer

    def read(self, described, whose, body):
        """Reads the body with the class of its schema."""
        schema = next(content["schema"] for media_type, content in described.items() if media_type.endswith("json"))
        is_list = schema.get("type") == "array"
        name = (schema["items"] if is_list else schema)["$ref"].rsplit("/", 1)[1]
        model = getattr(self.models, name.replace("_", ""))
        adapter = pydantic.TypeAdapter(list[model] if is_list else model)
        try:
            value = adapter.validate_python(body)
        except pydantic.ValidationError as error:
            return [f"{whose} {name}: {error}"[:2000]]
        return differences(f"{whose} {name}", adapter.dump_python(value, mode="json", by_alias=True, exclude_unset=True), body)


def body_class(module):
    """The class of the parameter `body`, which may be optional."""
    annotation = inspect.signature(module.sync_detailed).parameters["body"].annotation
    return next(one for one in getattr(annotation, "__args__", (annotation,)) if hasattr(one, "from_dict"))


def plain(parsed):
    return [one.to_dict() for one in parsed] if isinstance(parsed, list) else getattr(parsed, "to_dict", lambda: parsed)()


def differences(place, read, given):
    """Where `read` is not what was given. Times may be written in another way."""
    if isinstance(read, dict) and isinstance(given, dict):
        missing = [f"{place} has not {name}" for name in given.keys() - read.keys()]
        added = [f"{place} has {name} = {read[name]}, which was not given" for name in read.keys() - given.keys()]
        both = [differences(f"{place}.{name}", read[name], given[name]) for name in given.keys() & read.keys()]
        return missing + added + sum(both, [])
    if isinstance(read, list) and isinstance(given, list) and len(read) == len(given):
        return sum((differences(f"{place}[{index}]", *both) for index, both in enumerate(zip(read, given))), [])
    if read == given or (time(read) is not None and time(read) == time(given)):
        return []
    return [f"{place} is {read}, given was {given}"[:1000]]


def time(value):
    try:
        return datetime.datetime.fromisoformat(value) if "T" in value else None
    except (TypeError, ValueError):
        return None


def main():
    url, folder, *names = sys.argv[1:]
    sys.path.insert(0, folder)
    documents = {name: Document(url, pathlib.Path(folder), name) for name in names}
    print(json.dumps(sum((one.complaints for one in documents.values()), [])), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = documents[request.pop("document")].call(**request)
        print(json.dumps(answer), flush=True)


main()
