"""The table of advisories names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..scripted import Role
from .advisories import ADVISORIES, Advisory
from .attacks import FLOODS

TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "node", sorted({test.node for advisory in ADVISORIES for test in advisory.tests})
)
def test_each_test_of_the_table_exists(node: str) -> None:
    path, _, name = node.partition("::")
    assert re.search(
        rf"^(async )?def {name}\(", (TESTS / path).read_text(encoding="utf-8"), re.MULTILINE
    )


def test_each_flood_of_the_table_exists() -> None:
    wanted = {
        test.only.removesuffix("-")
        for advisory in ADVISORIES
        for test in advisory.tests
        if "test_floods" in test.node
    }
    assert wanted <= set(FLOODS)


@pytest.mark.parametrize("advisory", ADVISORIES, ids=[advisory.ids for advisory in ADVISORIES])
def test_each_advisory_has_tests_and_a_line(advisory: Advisory) -> None:
    assert advisory.tests
    assert len(advisory.ids) < 60
    assert len(advisory.fault) < 60
    roles: set[Role] = {role for test in advisory.tests for role in test.roles}
    assert roles
