"""Findings and seeds of the fuzzer are accepted, or refused in one line."""

from pathlib import Path

import pytest
from fuzz.targets import TARGETS

FINDINGS = sorted(path for path in Path(__file__).with_name("findings").glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_fixed_findings_stay_fixed(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_seeds_are_read(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name](seed)
