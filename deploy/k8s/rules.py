"""Put Prometheus' own rule files into a PrometheusRule: `python deploy/k8s/rules.py > deploy/k8s/base/rules.yaml`.

A custom resource cannot point at a file. The text of each file's `groups:` is taken as it is, with its comments.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

PROMETHEUS = Path(__file__).parents[1] / "prometheus"
NAMES = ("recording.yml", "alerts.yml")
HEAD = """\
# Made by deploy/k8s/rules.py from deploy/prometheus/*.yml: change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: meander
spec:
  groups:
"""


def groups(text: str) -> str:
    """The list below `groups:`, indented as below `spec:`.

    >>> groups("# why\\ngroups:\\n  - name: lag\\n")
    '    - name: lag\\n'
    """
    (_, found) = re.split(r"^groups:\n", text, flags=re.MULTILINE)
    return textwrap.indent(found, "  ")


def rule() -> str:
    """The whole document."""
    return HEAD + "\n".join(groups((PROMETHEUS / name).read_text(encoding="utf-8")) for name in NAMES)


if __name__ == "__main__":
    sys.stdout.write(rule())
