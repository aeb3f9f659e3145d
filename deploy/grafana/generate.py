"""Write the dashboards from the code: `python -m deploy.grafana.generate [--check]`.

With `--check` nothing is written, and the exit status is 1 if a file is not what the code says.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from deploy.grafana import pipeline, quality
from deploy.grafana.board import as_json
from docs.generate import bring_up_to_date

FOLDER = Path(__file__).with_name("dashboards")
DASHBOARDS = {"pipeline.json": pipeline.dashboard, "drift-and-quality.json": quality.dashboard}


def main(arguments: list[str] | None = None) -> int:
    """Write the dashboards, or with `--check` name those that are out of date."""
    texts = {name: partial(text_of, name) for name in DASHBOARDS}
    return bring_up_to_date(FOLDER, texts, "make dashboards", __doc__, arguments)


def text_of(name: str) -> str:
    """What the file of a dashboard is to hold."""
    return as_json(DASHBOARDS[name]())


if __name__ == "__main__":
    sys.exit(main())
