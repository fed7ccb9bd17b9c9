"""CITATION.cff is complete, valid in its main fields, and agrees with the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

import qkan

ROOT = Path(__file__).resolve().parents[2]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
#: Keys of format 1.2.0 that are used here; a misspelt one would be ignored without a word.
KEYS = {
    "cff-version", "message", "type", "title", "abstract", "authors", "version", "license", "keywords", "references"
}  # fmt: skip


def test_required_fields():
    assert set(CITATION) <= KEYS
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["type"] == "software"
    assert CITATION["message"]
    assert [author["name"] for author in CITATION["authors"]] == ["The qkan-toolkit developers"]


def test_agrees_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert CITATION["version"] == project["version"] == qkan.__version__
    assert CITATION["license"] == project["license"]
    assert project["name"] in CITATION["title"]


def test_references_are_complete():
    assert CITATION["references"]
    for reference in CITATION["references"]:
        assert {"type", "title", "authors"} <= set(reference)
        assert all(set(author) <= {"family-names", "given-names", "name"} for author in reference["authors"])
        for identifier in reference.get("identifiers", []):
            assert identifier["type"] in ("doi", "url", "swh", "other")
            assert identifier["value"]
