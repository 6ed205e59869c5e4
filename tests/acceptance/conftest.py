"""A fresh home per module, so that its tests share what one of them trained."""

import pytest

from tests.acceptance.command_line import CommandLine


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """The command line on an empty home."""
    return CommandLine(tmp_path_factory.mktemp("home") / "data")
