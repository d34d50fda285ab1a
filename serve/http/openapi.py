"""Builds /openapi.json: our own routes, the OpenAI routes that are proxied, and the shape of refusals."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "integer", "null"]},
            },
        }
    },
}
REFUSALS = {
    "400": "The request is invalid; the message says what was found.",
    "401": "No key, or a wrong one.",
    "403": "A key of another kind.",
    "404": "There is nothing of that name; the message lists what exists.",
    "405": "Another method is needed.",
    "408": "The body did not arrive in time.",
    "409": "The revision was refused; `reasons` says why.",
    "413": "The body is too large.",
    "422": "The adapter of that Hub id was refused; `reasons` says why.",
    "429": "A limit is reached; Retry-After says for how many seconds.",
    "502": "The engine failed on this request.",
    "503": "The engine is starting or down; Retry-After says when to ask again.",
}
OF_ROUTE = {
    "/health": ("405", "503"),
    "/ready": ("405", "503"),
    "/hooks/hub": ("400", "401", "404", "405", "408", "413"),
}
OF_OURS = ("400", "401", "403", "404", "405", "409", "503")

MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {
            "role": {"enum": ["system", "user", "assistant"]},
            "content": {"type": "string", "minLength": 1},
        },
    },
}
PASSED = {
    "/v1/chat/completions": ("A chat completion, streamed or not.", {"messages": MESSAGES}),
    "/v1/completions": ("A plain completion, streamed or not.", {"prompt": {"type": "string"}}),
    "/v1/responses": ("A response, streamed or not.", {"input": {"type": "string"}}),
}


def describe(app: FastAPI) -> None:
    """Sets the OpenAPI description of `app`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    app.openapi = openapi


def _describe(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            operation["responses"].pop("422", None)  # ours are 400
            wanted = OF_ROUTE.get(path, OF_OURS)
            _add_refusals(operation, [status for status in wanted if status not in operation["responses"]])
            operation["security"] = [{"key": []}] if path.startswith(("/admin", "/metrics")) else [{}, {"key": []}]
            if path.startswith("/hooks"):
                operation["security"] = [{"webhook": []}]
    for path, (summary, fields) in PASSED.items():
        schema["paths"][path] = {"post": _passed(summary, fields)}
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Error"] = ERROR
    schema["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer"},
        "webhook": {"type": "apiKey", "in": "header", "name": "X-Webhook-Secret"},
    }
    return schema


def _passed(summary: str, fields: dict[str, Any]) -> dict[str, Any]:
    body = {
        "type": "object",
        "required": ["model", *fields],
        "properties": {
            "model": {"type": "string", "description": "`base`, a persona, `persona@revision`, or a Hub id."},
            **fields,
            "max_tokens" if "input" not in fields else "max_output_tokens": {"type": "integer", "minimum": 1},
            "temperature": {
                "type": "number",
                "minimum": 0,
                "maximum": 2,
                "description": "Without it, the base's own sampling (`sampling` of `base` in `/v1/models`).",
            },
            "stream": {"type": "boolean", "default": False},
        },
    }
    content = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {"type": "string"}}}
    operation = {
        "summary": summary,
        "description": "Everything else that vLLM reads here is passed on; a field that it would ignore is refused.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": "The answer.", "content": content}},
        "security": [{}, {"key": []}],
    }
    _add_refusals(operation, [status for status in REFUSALS if status != "409"])
    return operation


def _add_refusals(operation: dict[str, Any], statuses: list[str]) -> None:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status in statuses:
        operation["responses"][status] = {"description": REFUSALS[status], "content": content}
