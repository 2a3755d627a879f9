"""Print the lowest versions that pyproject.toml allows, as requirements of pip."""

import re
import tomllib
from pathlib import Path

NOT_RUN_AT_THE_FLOOR = {"ruff", "mypy"}  # they judge the text of the code, which newer ones did already


def lowest(requirements: list[str]) -> list[str]:
    """Turn each `name>=version` into `name==version`; anything else has no floor to try (ValueError)."""
    pinned = []
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
        if match is None:
            raise ValueError(f"{requirement!r} in pyproject.toml is not of the form name>=version")
        if match[1] not in NOT_RUN_AT_THE_FLOOR:
            pinned.append(f"{match[1]}=={match[2]}")
    return pinned


settings = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
project = settings["project"]
allowed = settings["build-system"]["requires"] + project["dependencies"] + project["optional-dependencies"]["dev"]
print(*lowest(allowed), sep="\n")
