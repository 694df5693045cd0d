"""What may be set under [wallboard], and how a mistake is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.configuration_file import ConfigurationError, describe_problems, load, override


def test_paths_are_taken_from_the_files_own_folder(tmp_path: Path) -> None:
    """As those of Kafka's certificates are."""
    path = tmp_path / "queuewatch.toml"
    path.write_text('[wallboard]\nkeys_file = "keys.json"\nannouncement_file = "/srv/line.txt"\n', encoding="utf-8")
    settings = load(path).wallboard
    assert settings.keys_file == tmp_path / "keys.json"
    assert settings.announcement_file == Path("/srv/line.txt")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"networks": ["192.168.7.1/24"]}, "'192.168.7.1/24' is no network: .* host bits set.*'192.168.7.0/24'"),
        ({"networks": ["office"]}, "'office' is no network"),
        ({"networks": ["10.0.0.0/8", "10.0.0.0/8"]}, "'10.0.0.0/8' is named twice"),
        ({"frame_ancestors": ["*"]}, r"'\*' cannot frame a page; .*https://intranet.example"),
        ({"frame_ancestors": ["https://a.example; script-src *"]}, "cannot frame a page"),
        ({"base_url": "wall.example"}, "base_url"),
        ({"base_url": "https://wall.example/?a=b"}, "base_url"),
        ({"pinned": ["sales", "sales"]}, "'sales' is named twice"),
        ({"streams_per_address": 0}, "streams_per_address: 0 is below 1"),
        ({"better_after_seconds": -1}, "better_after_seconds: -1 is below 0"),
        ({"network": []}, "did you mean networks"),
    ],
)
def test_a_mistake_is_told_with_its_place(table: dict[str, Any], told: str) -> None:
    """In words."""
    with pytest.raises(ValidationError) as caught:
        Configuration.model_validate({"wallboard": table})
    [problem] = describe_problems(caught.value)
    assert problem.startswith("wallboard.")
    assert re.search(told, problem), problem


def test_the_host_may_be_named_by_a_flag_alone() -> None:
    """No variable of the environment opens the wallboard to the world."""
    assert override(Configuration(), host="0.0.0.0", environment={}).serve.host == "0.0.0.0"
    assert override(Configuration(), environment={"QUEUEWATCH_HOST": "0.0.0.0"}).serve.host == "127.0.0.1"
    with pytest.raises(ConfigurationError, match="--host"):
        override(Configuration(), host="", environment={})
