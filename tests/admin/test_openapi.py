"""Every endpoint answers as the OpenAPI document says, whatever it is asked."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from tests.support.admin import admin_url, token
from tests.support.node import Node
