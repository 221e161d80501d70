"""A project's folder: where it is, its jobs and scripts as they are now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lakecat.config import FILE_NAME, IngestJob, Settings, load_jobs, load_settings
from lakecat.errors import ConfigError

if TYPE_CHECKING:
    from lakecat.transform import Script


class Project:
    """A project's settings, and its files read anew each time they are asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @classmethod
    def open(cls, path: Path | str | None, *, profile: str | None, environ: Mapping[str, str]) -> Project:
        """Read the project at ``path`` (its file or folder), or the nearest one above the working folder.

        Raises ConfigError.
        """
        found = find_project() if path is None else Path(path)
        return cls(load_settings(found, profile=profile, environ=environ))

    def jobs(self) -> tuple[IngestJob, ...]:
        """The ingest jobs. Raises ConfigError with file and line."""
        return load_jobs(self.settings)

    def readable_jobs(self) -> tuple[tuple[IngestJob, ...], tuple[ConfigError, ...]]:
        """The ingest jobs that can be read, and what is wrong with the others. Raises ConfigError if none can be."""
        broken: list[ConfigError] = []
        jobs = load_jobs(self.settings, broken=broken)
        if broken and not jobs:
            raise broken[0]
        return jobs, tuple(broken)

    def scripts(self) -> tuple[Script, ...]:
        """The transform scripts. Raises ScriptError with file and line."""
        from lakecat.transform import load_scripts

        return load_scripts(self.settings)


def find_project() -> Path:
    """The nearest ``lakecat.yaml`` in the working folder or above. Raises ConfigError."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise ConfigError(
        f"there is no project here: no {FILE_NAME} in {here} or above",
        hint="go to the project's folder, or name it with --config",
        next_command="lakecat init",
    )
