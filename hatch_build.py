"""Package metadata that depends on where a release is made: the project's links.

A package index shows README.md without the repository around it. The release workflow therefore sets
``REPOSITORY_URL``, for example ``https://github.com/OWNER/NAME``. With it, the metadata has project URLs, and
the relative links and pictures of the README become absolute, at the tag of the version. Without it, the
README is unchanged and there are no project URLs.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\[\]]*)\]\((?!https?:|#)(?P<target>[^()\s]+)\)")


class CustomMetadataHook(MetadataHookInterface):
    """Sets the dynamic fields ``readme`` and ``urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set both fields in ``metadata``, which holds the version already."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        repository = os.environ.get("REPOSITORY_URL", "").rstrip("/")
        tag = f"v{metadata['version']}"
        if repository:
            readme = with_absolute_links(readme, repository, tag)
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}
        metadata["urls"] = project_urls(repository, tag) if repository else {}


def with_absolute_links(readme: str, repository: str, tag: str) -> str:
    """Return the Markdown with each relative link and picture pointing to the repository at ``tag``."""

    def absolute(found: re.Match[str]) -> str:
        kind = "raw" if found["picture"] else "blob"
        return f"{found['picture']}[{found['text']}]({repository}/{kind}/{tag}/{found['target']})"

    return RELATIVE_LINK.sub(absolute, readme)


def project_urls(repository: str, tag: str) -> dict[str, str]:
    """Return the project URLs by their label."""
    return {
        "Source": repository,
        "Documentation": f"{repository}/blob/{tag}/docs/install.md",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
        "Security": f"{repository}/security/policy",
    }
