"""What the tests of conversations share."""

from pathlib import Path

import pytest

from tests.models import Rule
from tests.session.support import Script, scripted_gpt_oss


@pytest.fixture
def script(tmp_path: Path, harmony_vocabulary: None) -> Script:
    """Build a scripted GPT-OSS from rules."""

    def build(*rules: Rule, **config: object) -> Path:
        return scripted_gpt_oss(tmp_path / "scripted-gpt-oss", rules, **config)

    return build
