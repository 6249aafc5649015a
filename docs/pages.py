# ruff: noqa: INP001
"""MkDocs hook: pages whose Markdown lies outside docs/, and links between any two files of the repository.

Links in the sources are relative to the file in the repository, so that they work on GitHub. On the site, a link to
a page or file of the site is rewritten to its place there, any other to the file on GitHub.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(?=[)#])")
_CODE = re.compile(r"^( *```.*?^ *```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of `extra.pages`."""
    root = Path(config.config_file_path).parent
    for uri, source in config.extra["pages"].items():
        files.append(File.generated(config, uri, abs_src_path=str(root / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page."""
    outside: dict[str, str] = config.extra["pages"]
    of_source = {source: uri for uri, source in outside.items()}
    uri = page.file.src_uri
    folder = dirname(outside.get(uri, f"docs/{uri}"))

    def rewritten(link: re.Match[str]) -> str:
        path = normpath(join(folder, link[1]))
        target = of_source.get(path, path.removeprefix("docs/"))
        if path in of_source or (path.startswith("docs/") and files.get_file_from_path(target)):
            return relpath(target, dirname(uri) or ".")
        if not (Path(config.config_file_path).parent / path).exists():
            return link[1]  # for MkDocs to warn of
        return f"{config.repo_url}/blob/main/{path}"

    parts = _CODE.split(markdown)
    return "".join(part if i % 2 else _LINK.sub(rewritten, part) for i, part in enumerate(parts))
