"""Write the dashboards from the code: `python -m deploy.grafana.generate [--check]`.

With `--check` nothing is written, and the exit status is 1 if a file is not what the code says.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.grafana import pipeline, quality
from deploy.grafana.board import as_json

FOLDER = Path(__file__).with_name("dashboards")
DASHBOARDS = {"pipeline.json": pipeline.dashboard, "drift-and-quality.json": quality.dashboard}


def main(arguments: list[str] | None = None) -> int:
    """Write the dashboards, or with `--check` name those that are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is out of date")
    check = parser.parse_args(arguments).check
    stale = []
    for name, dashboard in DASHBOARDS.items():
        text, path = as_json(dashboard()), FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run make dashboards\n")
    return int(bool(check and stale))


if __name__ == "__main__":
    sys.exit(main())
