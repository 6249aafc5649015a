"""Relative links in Markdown files lead to files and headings of the repository."""

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]*)#?([^)\s]*)\)")
CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def _markdown_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [path for name in listed.stdout.splitlines() if (path := REPOSITORY / name).exists()]


def _anchors(markdown: Path) -> set[str]:
    headings = HEADING.findall(re.sub(r"^ *```.*?^ *```", "", markdown.read_text(), flags=re.DOTALL | re.MULTILINE))
    # As GitHub makes them: no punctuation, hyphens for blanks.
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken_links(markdown: Path) -> list[str]:
    broken = []
    for path, anchor in LINK.findall(CODE.sub("", markdown.read_text())):
        target = markdown.parent / path if path else markdown
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(f"{path}#{anchor}" if anchor else path)
    return broken


@pytest.mark.parametrize("markdown", _markdown_files(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_relative_links_lead_somewhere(markdown: Path) -> None:
    assert _broken_links(markdown) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# It's `there`\n\n```sh\n# not a heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n[a](other.md) [b](other.md#its-there) [c](#page) [d](https://example.org/none) `[e](code.md)`\n"
        "[f](missing.md) [g](other.md#not-a-heading) ![h](missing.png) [i](#nowhere)\n"
    )
    assert _broken_links(page) == ["missing.md", "other.md#not-a-heading", "missing.png", "#nowhere"]
