"""The service's OpenAPI document: the body of `/predict` is that of the champion of the moment."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from serving.scorer import Feature
from serving.web.champions import LoadedChampion
from serving.web.example import example_for
from serving.web.labels import FeedbackBody
from serving.web.problems import MEDIA_TYPE

DESCRIPTION = """Scores rows with the champion of the MLflow Model Registry.

Each answer is durable in the prediction log before it is given, with the version of the model
that gave it. What turned out to be true is sent to `/feedback`.
"""
SCHEMAS = "#/components/schemas/{model}"
BODIES = (FeedbackBody,)
PROBLEM = {
    "title": "Problem",
    "description": "An error as RFC 9457 describes it.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "rule", "row"],
                "properties": {
                    "field": {"type": "string"},
                    "rule": {"type": "string"},
                    "row": {"type": ["integer", "null"], "description": "counts from 0"},
                },
            },
        },
    },
}
MEANING = {
    400: "Not readable, such as no JSON",
    401: "An API key is needed",
    403: "Sent by a page of another origin",
    409: "The key was used before with other rows",
    413: "Too many rows or bytes",
    415: "Another content type is needed",
    422: "Does not fit: names field, row and rule",
    500: "The service failed",
    503: "Not now, try again: no champion yet, or predictions cannot be made durable",
}
ALWAYS = (401, 500)
ID_SCHEMA = {"type": ["string", "integer", "null"], "maxLength": 255}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how a route documents the errors that it answers with."""
    schema = {"$ref": SCHEMAS.format(model="Problem")}
    content = {MEDIA_TYPE: {"schema": schema}}
    return {
        status: {"description": MEANING[status], "content": content}
        for status in sorted({*statuses, *ALWAYS})
    }


def body_of(schema: dict[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    """Return how a route documents a body that it reads itself."""
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


def reference(model: type[BaseModel]) -> dict[str, str]:
    """Return the schema that refers to a model of `BODIES`."""
    return {"$ref": SCHEMAS.format(model=model.__name__)}


def document(app: FastAPI, champion: LoadedChampion | None, keyed: bool) -> dict[str, Any]:
    """Return the OpenAPI document of `app`."""
    content = get_openapi(title="ml-pipes", version="1", description=DESCRIPTION, routes=app.routes)
    schemas = content.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = PROBLEM
    for model in BODIES:
        schema = model.model_json_schema(ref_template=SCHEMAS)
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if champion is not None:
        features = champion.scorer.manifest.features
        json = content["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
        json["schema"] = columns_schema(features)
        json["examples"] = {
            "two rows": {
                "summary": "Two rows; these of the card data are real, the first is a fraud",
                "value": example_for(features),
            }
        }
    if keyed:
        content["components"]["securitySchemes"] = {
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "password": {"type": "http", "scheme": "basic"},
        }
        content["security"] = [{"header": []}, {"password": []}]
    return content


def columns_schema(features: tuple[Feature, ...]) -> dict[str, Any]:
    """Return the schema of both forms of a body with `features`."""
    names = [feature.name for feature in features]

    def form(title: str, wrap: Any, id_schema: dict[str, Any]) -> dict[str, Any]:
        columns = {feature.name: wrap(_number(feature)) for feature in features}
        return {
            "title": title,
            "type": "object",
            "required": names,
            "additionalProperties": False,
            "properties": columns | {"id": id_schema},
        }

    def a_list(schema: dict[str, Any]) -> dict[str, Any]:
        return {"type": "array", "minItems": 1, "items": schema}

    return {
        "oneOf": [
            form("Columns of equal length", a_list, a_list(ID_SCHEMA)),
            form("One row", lambda schema: schema, ID_SCHEMA),
        ]
    }


def _number(feature: Feature) -> dict[str, Any]:
    return {"type": ["number", "null"] if feature.nullable else "number"}
