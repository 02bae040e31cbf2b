"""Every endpoint answers as the OpenAPI document says, whatever it is asked."""

import asyncio

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from tests.support.admin import admin_url, token
from tests.support.node import Node

from outlast.admin.openapi import OPERATIONS, document

EXAMPLES = 12
"""Of each endpoint, sound ones and unsound ones."""
ENDING = [operation for operation in OPERATIONS if operation.path != "/v1/events/live"]

load_all_checks()
[NO_TOKEN] = CHECKS.get_by_names(["ignored_auth"])
"""It leaves the token where it is, and wonders: `test_access` asks without."""


@pytest.mark.parametrize("operation", [f"{operation.method} {operation.path}" for operation in ENDING])
async def test_an_endpoint(node: Node, operation: str) -> None:
    method, path = operation.split()
    url, given_token = admin_url(node), token(node)
    schema = schemathesis.openapi.from_dict(document())
    cases = st.one_of(
        schema[path][method].as_strategy(generation_mode=mode)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )

    @given(case=cases)
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(
            base_url=url, headers={"authorization": f"Bearer {given_token}"}, excluded_checks=[NO_TOKEN]
        )

    # The library knows no asyncio, and the log of the node has to be read meanwhile.
    await asyncio.to_thread(check)
