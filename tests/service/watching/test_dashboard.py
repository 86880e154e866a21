"""The dashboard that comes with the compose file asks for metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

from service.watching.metrics import Metrics

_DASHBOARD = Path(__file__).parents[3] / "deploy/grafana/dashboards/gradcam.json"


def test_every_metric_of_the_dashboard_exists() -> None:
    families = list(Metrics().registry.collect())
    known = {family.name for family in families}
    known |= {f"{family.name}_total" for family in families if family.type == "counter"}
    for family in families:
        if family.type == "histogram":
            known |= {f"{family.name}_{part}" for part in ("bucket", "count", "sum")}
    panels = json.loads(_DASHBOARD.read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"gradcam_[a-z_]+", target["expr"])
    }
    assert len(asked) > 5
    assert asked <= known, asked - known
