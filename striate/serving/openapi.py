"""What the routes say of themselves in ``/openapi.json``, with examples that work as they stand."""

from __future__ import annotations

import base64
from typing import Any

_DOT = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
        "53de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
    )
).decode()
"""A PNG of one red pixel."""

_ANSWER: dict[str, Any] = {
    "model": "flowers",
    "version": 1,
    "kind": "label",
    "predictions": [
        {
            "source": "garden.jpg",
            "label": "rose",
            "probability": 0.97,
            "labels": ["rose"],
            "top": [{"label": "rose", "probability": 0.97}, {"label": "tulip", "probability": 0.02}],
        }
    ],
}

_ERRORS = {
    400: ("bad_json", "The body is not JSON"),
    401: ("unauthorized", "Send the server's token: Authorization: Bearer TOKEN"),
    404: ("unknown_model", "No model 'rosess'. Did you mean 'roses'?"),
    408: ("too_slow", "The body took too long to arrive"),
    413: ("too_many_pixels", "a picture of 60000 x 60000"),
    415: ("not_an_image", "not a picture (it begins with b'hello')"),
    422: ("bad_image", "the file ends too early"),
    503: ("busy", "As many images as the server takes are waiting"),
    504: ("deadline", "No answer within 30 s"),
}

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {
                "type": {"type": "string", "description": "one stable word, to branch on"},
                "message": {"type": "string", "description": "one sentence, for a person"},
            },
            "additionalProperties": True,
        }
    },
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Descriptions of the errors with these statuses."""
    return {status: _error_response(*_ERRORS[status]) for status in statuses}


def _error_response(type: str, message: str) -> dict[str, Any]:
    example = {"error": {"type": type, "message": message}}
    return {"description": message, "content": {"application/json": {"schema": ERROR_SCHEMA, "example": example}}}


_BINARY = {"type": "string", "format": "binary"}

_PREDICT: dict[str, Any] = {
    "tags": ["predict"],
    "requestBody": {
        "required": True,
        "description": "Images, as files or as ready tensors.",
        "content": {
            "image/*": {"schema": _BINARY},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"images": {"type": "array", "items": _BINARY}}},
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {"type": "string", "format": "byte"},
                        "images": {"type": "array", "items": {"type": "string", "format": "byte"}},
                    },
                },
                "examples": {
                    "one": {"summary": "one image", "value": {"image": _DOT}},
                    "many": {"summary": "many images", "value": {"images": [_DOT, _DOT]}},
                },
            },
            "application/x-npy": {"schema": {**_BINARY, "description": "A .npy array: uint8 [N, C, height, width], C order."}},
            "application/octet-stream": {
                "schema": {**_BINARY, "description": "The bytes of uint8 [N, C, height, width], its shape in the header X-Shape."}
            },
        },
    },
    "parameters": [
        {
            "name": "top",
            "in": "query",
            "required": False,
            "schema": {"type": "integer", "minimum": 1, "default": 5},
            "description": "Most probable classes to name.",
        },
        {
            "name": "X-Shape",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "example": "8,3,224,224",
            "description": "Of a ready tensor: N, C, height, width.",
        },
    ],
    "responses": {
        "200": {
            "description": "A prediction an image, in order; one that cannot be read has an `error` in its place.",
            "content": {"application/json": {"schema": {"type": "object"}, "example": _ANSWER}},
        },
        **{str(status): response for status, response in error_responses(*_ERRORS).items()},
    },
}

_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}

PREDICTIONS: dict[str, Any] = {
    "/predict": {"post": {"operationId": "predict", "summary": "What the first model says of one or many images.", **_PREDICT}},
    "/models/{name}/predict": {
        "post": {
            "operationId": "predict_with",
            "summary": "The same for a model by name.",
            **_PREDICT,
            "parameters": [_NAME, *_PREDICT["parameters"]],
        }
    },
}
"""The paths that :class:`striate.serving.predicting.Predictions` answers."""
