"""The model that the windows talk to."""

from pathlib import Path

import pytest

from tests.features.chat.windows import RULES
from tests.session.support import scripted_gpt_oss


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return scripted_gpt_oss(tmp_path / "model", RULES, max_position_embeddings=32_768)
