"""OpenAPI document, with the features of the current champion in the body of `/predict`."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from serving.model.features import Feature
from serving.model.manifest import Manifest
from serving.web.example import example_for
from serving.web.explaining import EXPLAIN
from serving.web.feedback import FeedbackBody
from serving.web.loading import LoadedChampion
from serving.web.problems import MEDIA_TYPE

DESCRIPTION = """Scores rows with the champion of the MLflow Model Registry.

Each prediction is durable in the prediction log before it is returned, with the version of the
model that made it. Send ground-truth labels to `/feedback`.
"""
PREDICT, PREDICTION_LOG, OPERATIONS = "predict", "prediction log", "operations"
SCHEMAS = "#/components/schemas/{model}"
# Models of bodies that routes parse themselves.
BODIES = (FeedbackBody,)
PROBLEM = {
    "title": "Problem",
    "description": "An error in the format of RFC 9457.",
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
DESCRIPTIONS = {
    400: "Unreadable request, such as invalid JSON or a repeated header",
    401: "API key missing or invalid",
    403: "Request from a page of another origin, or under a name that is not answered without keys",
    408: "Body not received in time",
    409: "Key used before with other rows, or a champion that cannot explain",
    413: "Too many rows or bytes",
    415: "Unsupported content type",
    422: "Invalid fields, each named with row and rule",
    500: "Internal error",
    503: "Temporarily unavailable: no champion yet, or predictions cannot be made durable",
}
ANY_ROUTE = (400, 401, 403, 500)
# Levels of a category that the documentation and the form list.
MAX_CHOICES = 25
EXPLAIN_SCHEMA = {
    "type": ["boolean", "null"],
    "description": "Whether to explain each row; the request may then have at most 20 rows",
}
ID_SCHEMA = {"type": ["string", "integer", "null"], "maxLength": 255}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of the error statuses of a route."""
    schema = {"$ref": SCHEMAS.format(model="Problem")}
    content = {MEDIA_TYPE: {"schema": schema}}
    return {
        status: {"description": DESCRIPTIONS[status], "content": content}
        for status in sorted({*statuses, *ANY_ROUTE})
    }


def body_of(schema: dict[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    """Return the documentation of a body that the route parses itself."""
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


def reference(model: type[BaseModel]) -> dict[str, str]:
    """Return a reference to the schema of a model in `BODIES`."""
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
        _add_columns(content, champion.scorer.manifest)
    if keyed:
        content["components"]["securitySchemes"] = {
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "password": {"type": "http", "scheme": "basic"},
        }
        content["security"] = [{"header": []}, {"password": []}]
    return content


def _add_columns(content: dict[str, Any], manifest: Manifest) -> None:
    json = content["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    json["schema"] = columns_schema(manifest.features, manifest.id_column)
    json["examples"] = {
        "two rows": {
            "summary": "Two rows: those of the test rows with the highest and the lowest score",
            "value": example_for(manifest),
        }
    }


def columns_schema(features: tuple[Feature, ...], id_column: str) -> dict[str, Any]:
    """Return the schema of both forms of a body: columns, or single values for one row."""
    names = [feature.name for feature in features]

    def form(title: str, wrap: Any, id_schema: dict[str, Any]) -> dict[str, Any]:
        columns = {feature.name: wrap(value_schema(feature)) for feature in features}
        return {
            "title": title,
            "type": "object",
            "required": names,
            "properties": {EXPLAIN: EXPLAIN_SCHEMA} | columns | {id_column: id_schema},
        }

    def list_of(schema: dict[str, Any]) -> dict[str, Any]:
        return {"type": "array", "minItems": 1, "items": schema}

    return {
        "oneOf": [
            form("Columns of equal length", list_of, list_of(ID_SCHEMA)),
            form("One row", lambda schema: schema, ID_SCHEMA),
        ]
    }


def value_schema(feature: Feature) -> dict[str, Any]:
    """Return the schema of a value of a feature in JSON."""
    is_text = feature.kind in ("category", "date") or feature.levels
    name = "string" if is_text else feature.kind
    schema: dict[str, Any] = {"type": [name, "null"] if feature.nullable else name}
    if feature.kind == "date":
        schema["format"] = "date-time" if feature.has_time else "date"
    if feature.levels:
        schema["examples"] = list(feature.levels[:MAX_CHOICES])
    return schema
