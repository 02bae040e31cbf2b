"""The OpenAPI document of the admin API, which is also the table of its endpoints: nothing else is served."""

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from outlast.admin import questions
from outlast.admin.answers import ProblemBody
from outlast.admin.bodies import (
    CaughtUp,
    Drained,
    Items,
    LevelBody,
    NodeBody,
    Reloaded,
    RequestStory,
    SettingsBody,
    TaskStory,
)
from outlast.admin.questions import Question
from outlast.core.records import RequestPage, TaskCount, TaskPage, WorkerPage
from outlast.supervisor.snapshot import FunctionSnapshot, WorkerSnapshot

JSON = "application/json"


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    name: str
    """The name of the method in `outlast.admin.endpoints.Endpoints`, or of the route in `outlast.admin.api`."""
    summary: str
    answer: Any = None
    """The type of the response's body; None: not JSON."""
    question: type[Question] = Question
    body: Any = None
    status: int = 200
    media_type: str = JSON
    failures: dict[int, str] = field(default_factory=dict)


_GONE = {404: "There is none such."}
_KEPT = "Newest first. What is kept, and for how long, is the ledger's business."

OPERATIONS = (
    Operation("GET", "/v1/node", "node", "The node itself.", NodeBody),
    Operation("GET", "/v1/functions", "functions", "What is served.", Items[FunctionSnapshot]),
    Operation(
        "GET", "/v1/functions/{name}", "function", "One function and its workers.", FunctionSnapshot, failures=_GONE
    ),
    Operation(
        "POST",
        "/v1/functions/{name}/reload",
        "reload_function",
        "Serve the function with new workers, as after a change of its files.",
        Reloaded,
        status=202,
        failures=_GONE,
    ),
    Operation(
        "POST",
        "/v1/functions/{name}/drain",
        "drain_function",
        "Have the function's workers end when they have done what they have. New requests get new workers.",
        Drained,
        status=202,
        failures=_GONE,
    ),
    Operation(
        "GET",
        "/v1/workers",
        "workers",
        "The workers that are alive.",
        Items[WorkerSnapshot],
        question=questions.Workers,
    ),
    Operation(
        "POST",
        "/v1/workers/{id}/drain",
        "drain_worker",
        "Have a worker end when it has done what it has.",
        Drained,
        status=202,
        failures={**_GONE, 409: "It is not ready yet."},
    ),
    Operation("GET", "/v1/tasks", "tasks", f"Background tasks. {_KEPT}", TaskPage, question=questions.TaskPages),
    Operation(
        "GET",
        "/v1/tasks/{id}",
        "task",
        "One task, its request, and what the log says of both.",
        TaskStory,
        failures=_GONE,
    ),
    Operation(
        "GET",
        "/v1/task-counts",
        "task_counts",
        "How many tasks there are of each function, outcome and reason. All that are asked for are read: of millions, "
        "ask for a time.",
        Items[TaskCount],
        question=questions.AboutTasks,
        failures={503: "They are too many to be counted within 5 s."},
    ),
    Operation(
        "GET",
        "/v1/requests",
        "requests",
        f"Requests that have ended. {_KEPT}",
        RequestPage,
        question=questions.RequestPages,
    ),
    Operation(
        "GET",
        "/v1/requests/{id}",
        "request",
        "One request, its tasks, and what the log says of both.",
        RequestStory,
        question=questions.AboutRequest,
        failures=_GONE,
    ),
    Operation(
        "GET",
        "/v1/executions",
        "executions",
        f"Lives of workers. {_KEPT}",
        WorkerPage,
        question=questions.ExecutionPages,
    ),
    Operation(
        "GET",
        "/v1/events",
        "events",
        "The latest events of the log, oldest first.",
        Items[dict[str, Any]],
        question=questions.RecentEvents,
    ),
    Operation(
        "GET",
        "/v1/events/live",
        "live",
        "The events of the log as they happen: server-sent events, each with one event in JSON. Send the id of the "
        "last one as Last-Event-ID to go on from there.",
        question=questions.LiveEvents,
        media_type="text/event-stream",
    ),
    Operation("GET", "/v1/log-level", "log_level", "Which events are written to the log.", LevelBody),
    Operation(
        "PUT",
        "/v1/log-level",
        "set_log_level",
        "Write events of this level or a higher one, until the node ends.",
        LevelBody,
        body=LevelBody,
        failures={413: "The body is too long."},
    ),
    Operation(
        "POST",
        "/v1/catch-up",
        "catch_up",
        "Wait until all is known that the workers had to say by now: what functions have printed, which tasks they "
        "have. It reaches the node a little later than their answers reach the callers.",
        CaughtUp,
        question=questions.CatchUp,
    ),
    Operation("GET", "/v1/settings", "settings", "Settings that win over the files.", SettingsBody),
    Operation(
        "PUT",
        "/v1/settings",
        "give_settings",
        "Let settings win over the files, from the next request on until the node ends; {} takes them back. "
        "They replace those that were given before.",
        SettingsBody,
        body=SettingsBody,
        failures={
            409: "The settings, with these over them, are wrong; what was valid before stays.",
            413: "The body is too long.",
        },
    ),
    Operation(
        "POST",
        "/v1/reload",
        "reload",
        "Read the settings again, and serve every function with new workers.",
        Reloaded,
        status=202,
        failures={409: "The settings are wrong; what was valid before stays."},
    ),
    Operation("GET", "/metrics", "metrics", "For Prometheus.", media_type="text/plain"),
    Operation("GET", "/openapi.json", "document", "This document.", dict[str, Any]),
)


def document() -> dict[str, Any]:
    types = [kind for operation in OPERATIONS for kind in (operation.answer, operation.body) if kind is not None]
    # Of all at once, so that each struct is described in one place.
    schemas, components = msgspec.json.schema_components(
        [*types, ProblemBody, *(operation.question for operation in OPERATIONS)],
        ref_template="#/components/schemas/{name}",
    )
    by_type = dict(zip(map(str, types), schemas, strict=False))
    # Of these, only the fields are shown, as parameters.
    asked = {name: components.pop(name) for name in {operation.question.__name__ for operation in OPERATIONS}}
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, by_type, asked)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Outlast admin API",
            "version": version("outlast"),
            "description": "What a node serves, what its workers do, and what became of every background task.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation, by_type: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    answer = {"schema": by_type[str(operation.answer)]} if operation.answer is not None else {}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation), *_query_parameters(asked[operation.question.__name__])],
        "responses": {
            str(operation.status): {
                "description": HTTPStatus(operation.status).phrase,
                "content": {operation.media_type: answer},
            },
            **{str(status): _failure(text) for status, text in sorted((_EVERYWHERE | operation.failures).items())},
        },
    }
    if operation.body is not None:
        schema = by_type[str(operation.body)]
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    return described


_EVERYWHERE = {
    400: "The query or the body is wrong.",
    401: "The token is missing or wrong.",
    403: "Called by a name that is not the node's own, or by a web page of another origin.",
}


def _failure(text: str) -> dict[str, Any]:
    return {"description": text, "content": {JSON: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}}


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]


def _query_parameters(question: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, schema in question["properties"].items():
        # Whoever does not mean a parameter leaves it out: in a URL there is no null.
        options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
        [only] = options
        parameter = {"name": name, "in": "query", "schema": {k: v for k, v in only.items() if k != "description"}}
        if "description" in only:
            parameter["description"] = only["description"]
        if schema.get("default") is not None:
            parameter["schema"]["default"] = schema["default"]
        found.append(parameter)
    return found
