"""What the registry answers over HTTP, as OpenAPI 3.1; tests hold it against the server (docs/reference, HTTP)."""

from __future__ import annotations

from typing import Any

from deployd import __version__
from deployd.registry.parameters import MAX_VALUE
from deployd.registry.waiting import MAX_WAIT

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_REVISION = {"x-deployd-revision": {"description": "Watch from here (since=).", "schema": _TEXT}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: dict[str, Schema], *optional: str, closed: bool = False) -> Schema:
    required = [name for name in properties if name not in optional]
    schema: Schema = {"type": "object", "properties": properties, "required": required}
    return schema | {"additionalProperties": False} if closed else schema


SCHEMAS: dict[str, Schema] = {
    "Error": _object({"error": {"type": "string", "description": "One sentence for whoever asked."}}),
    "Health": _object({"ok": {"type": "boolean"}, "epoch": _TEXT, "revision": {"type": "integer", "minimum": 0}}),
    "Ports": {
        "description": "By namespace (the commit), then role.",
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "minItems": 1,
                "items": _object({"host": _TEXT, "port": _ref("Port")}, closed=True),
            },
        },
    },
    "Port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "Row": _object(
        {
            "id": _TEXT,
            "namespace": {"type": "string", "description": "The commit, for what drones run."},
            "app": _TEXT,
            "release": _TEXT,
            "role": _TEXT,
            "version": _TEXT,
            "host": _TEXT,
            "port": _ref("Port"),
            "drone": {"type": "string", "description": "The name of the row's owner."},
            "meta": {"type": "object"},
            "owner": _TEXT,
            "revision": {"type": "integer", "minimum": 1, "description": "The number of the row's last change."},
            "marked": {"type": "boolean", "description": "Its owner is away: the row falls unless it comes back."},
        },
        "marked",
    ),
    "Line": {
        **_object(
            {
                "type": {"enum": ["put", "delete", "reset"]},
                "revision": {"type": "integer", "minimum": 0},
                "row": {"anyOf": [_ref("Row"), {"type": "null"}]},
                "more": {"const": True, "description": "The next line belongs with this one."},
                "epoch": {"type": "string", "description": "With a reset: what was known is void."},
            },
            "more",
            "epoch",
        ),
        "description": "The data of one event.",
    },
    "Event": _object(
        {
            "id": {"type": "string", "description": "The position after it: go on from there."},
            "event": {"enum": ["put", "delete", "reset"], "description": "The line's type."},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": _ref("Line")},
        }
    ),
    "Targets": {
        "type": "array",
        "items": _object(
            {
                "targets": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": ":[0-9]{1,5}$"}},
                "labels": {
                    "type": "object",
                    "propertyNames": {"pattern": "^__meta_deployd_[a-zA-Z0-9_]*$"},
                    "additionalProperties": _TEXT,
                },
            },
            closed=True,
        ),
    },
}

_ERRORS = {
    "400": "A parameter is unknown, given twice, too long or malformed.",
    "401": "The registry is private: say a key's token, or the secret.",
    "404": "There is nothing at this path.",
    "405": "Only GET and HEAD are answered.",
    "413": "The request has a body, and a large one.",
    "429": "Too much of this is under way, from this address or in all; come back after Retry-After.",
    "431": "The request's line, or one of its headers, is longer than 16 KiB.",
    "500": "The registry failed inside; its log says more.",
    "503": "The registry cannot take what its owners write.",
}


def _error(code: str) -> Schema:
    answer: Schema = {
        "description": _ERRORS[code],
        "content": {"application/json": {"schema": _ref("Error")}},
    }
    if code == "429":
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    if code == "405":
        answer["headers"] = {"Allow": {"schema": _TEXT}}
    return answer


def _query(name: str, description: str, **schema: Any) -> Schema:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": {"type": "string", "maxLength": MAX_VALUE} | schema,
    }


PARAMETERS: dict[str, Schema] = {
    "match": _query("match", "ROLE or ROLE@RANGE, with npm's ranges.", format="role-range", examples=["say@^1.2"]),
    "namespace": _query("namespace", "A namespace, or the beginning of a commit, from 4 characters."),
    "app": _query("app", "The app."),
    "release": _query("release", "The release of the app, as v12."),
    "role": _query("role", "The role."),
    "near": _query("near", "A namespace or APP:vN: its rows come first.", format="near", examples=["webapp:v12"]),
    "wait": _query(
        "wait",
        f"Seconds (up to {MAX_WAIT:.0f}) to wait for a first match; 404, and an empty document, when none has come.",
        type="number",
        minimum=0,
        maximum=MAX_WAIT,
    ),
    "since": _query(
        "since",
        "A position: an event's id, what x-deployd-revision says, or now. Without: from a reset on.",
        pattern="^(now|([^.]{1,64}[.])?[0-9]{1,18}(-[sc][0-9]{1,18})?)$",
    ),
    "port": _query(
        "port",
        "A port for all targets instead of their own, or the key of the metadata that has it.",
        pattern="^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$|^[^0-9]",
    ),
    "meta": {
        "name": "meta",
        "in": "query",
        "description": "meta.KEY=VALUE, up to 16: rows with that value in their metadata (numbers by their text).",
        "style": "form",
        "explode": True,
        "schema": {
            "type": "object",
            "patternProperties": {
                r"^meta\..": {"type": ["string", "number", "boolean", "null"], "maxLength": MAX_VALUE}
            },
            "additionalProperties": False,
            "maxProperties": 16,
        },
    },
}

_COMMIT: Schema = {
    "name": "commit",
    "in": "path",
    "required": True,
    "description": "A namespace, or the beginning of a commit, from 4 characters.",
    "schema": {"type": "string", "minLength": 1},
}
_LAST: Schema = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "What browsers send when they come back; before since.",
    "schema": _TEXT,
}


def _path(
    summary: str,
    answers: dict[str, Schema],
    *parameters: str,
    errors: tuple[str, ...] = (),
    more: tuple[Schema, ...] = (),
    is_open: bool = False,
) -> Schema:
    """The operations of a path: HEAD answers as GET, without a body."""
    codes = ["400", "405", "413", "431", *([] if is_open else ["401"]), *errors, "500"]
    said: Schema = {
        "summary": summary,
        "parameters": [*more, *(PARAMETERS[name] for name in parameters)],
        "responses": answers | {code: _error(code) for code in codes if code not in answers},
    }
    if is_open:
        said["security"] = []
    bare = {code: {"description": answer["description"]} for code, answer in said["responses"].items()}
    return {"get": said, "head": said | {"summary": f"{summary} (the head alone)", "responses": bare}}


def _json(description: str, schema: Schema, **more: Any) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}} | more


_PORTS = {
    "200": _json("What listens where.", _ref("Ports"), headers=_REVISION),
    "404": _json("Nothing has come while it was waited for.", _ref("Ports"), headers=_REVISION),
}
_NAMES = ("match", "namespace", "app", "release")
_FILTERS = (*_NAMES, "meta")
_ROWS: Schema = {"type": "array", "items": _ref("Row")}

PATHS: dict[str, Schema] = {
    "/healthz": _path(
        "Whether the registry serves",
        {
            "200": _json("It does.", _ref("Health")),
            "503": _json(_ERRORS["503"], {"allOf": [_ref("Health"), _ref("Error")]}),
        },
        is_open=True,
    ),
    "/metrics": _path(
        "The registry's figures for Prometheus",
        {"200": {"description": "The text format.", "content": {"text/plain": {"schema": _TEXT}}}},
    ),
    "/v1/openapi.json": _path("This description", {"200": _json("OpenAPI 3.1.", {"type": "object"})}),
    "/v1/ports": _path("The port table, sorted", _PORTS, "app", "release", "role", "wait", errors=("429",)),
    "/v1/ports/{commit}": _path(
        "The port table of a commit", _PORTS, "app", "release", "role", "wait", errors=("429",), more=(_COMMIT,)
    ),
    "/v1/services": _path(
        "Rows, whole: those that match all that is said, by id, those that are near first",
        {
            "200": _json("The rows.", _ROWS, headers=_REVISION),
            "404": _json("Nothing has come while it was waited for.", _ROWS, headers=_REVISION),
        },
        *_FILTERS,
        "near",
        "wait",
        errors=("429",),
    ),
    "/v1/targets": _path(
        "The rows as targets for Prometheus' http_sd",
        {"200": _json("Targets, those with the same labels together.", _ref("Targets"), headers=_REVISION)},
        *_FILTERS,
        "port",
        errors=("429",),
    ),
    "/v1/watch": _path(
        "The changes of the rows that match, as they happen, without end",
        {
            "200": {
                "description": "Server-sent events.",
                "content": {"text/event-stream": {"schema": _ref("Event")}},
            }
        },
        *_NAMES,
        "since",
        errors=("429",),
        more=(_LAST,),
    ),
}

DESCRIPTION: Schema = {
    "openapi": "3.1.0",
    "info": {
        "title": "deployd registry",
        "version": __version__,
        "description": "The port table, to be read. A private registry asks for a token, in the header or in front of "
        "the path (/token/TOKEN/v1/...), or for the secret.",
    },
    "paths": PATHS,
    "components": {
        "schemas": SCHEMAS,
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer"},
            "secret": {"type": "http", "scheme": "basic"},
        },
    },
    "security": [{}, {"token": []}, {"secret": []}],
}
