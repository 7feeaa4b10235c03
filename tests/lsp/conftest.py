"""Models for the server's tests."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.models import Rule


@pytest.fixture(scope="session")
def adding_model(scripted_model: Callable[[Sequence[Rule]], Path]) -> Path:
    """A model that knows how ``return`` goes on in a function that adds. Its own code must be trusted."""
    return scripted_model(
        [
            Rule("return ", "first + second"),
            Rule("return f", "irst + second"),
            Rule("return first", " + second"),
            Rule("total = ", "add(1, 2)\n"),
            Rule("👍 = ", "add(3, 4)\n"),
            Rule("def double(value):", "\n    value *= 2\n    return value"),
        ]
    )
