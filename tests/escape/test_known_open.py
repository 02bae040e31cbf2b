"""docs/security.md names every probe that is known to come through, everywhere or on some machines, and no other."""

import re
from pathlib import Path

from tests.escape import test_preparation_escapes, test_python_escapes, test_typescript_escapes

DOCS = Path(__file__).parents[2] / "docs/security.md"


def test_docs_name_what_stays_open() -> None:
    section = DOCS.read_text().partition("\n## What stays open\n")[2].partition("\n## ")[0]
    first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    named = [name for cell in first_cells for name in re.findall(r"`([a-z0-9-]+)`", cell)]
    stays_open = {
        *test_python_escapes.SUITE.named_in_docs,
        *test_typescript_escapes.SUITE.named_in_docs,
        *test_preparation_escapes.STAYS_OPEN,
    }
    assert sorted(named) == sorted(stays_open)
