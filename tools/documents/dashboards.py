"""Makes Grafana's dashboards of the panels that deploy/grafana/panels.yml lists; `make contracts` writes them."""

import string
from collections.abc import Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from grafana_foundation_sdk.builders import common, dashboard, prometheus, text, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DataSourceRef
from grafana_foundation_sdk.models.text import TextMode

from tools.stack.services import ROOT

FOLDER = "deploy/grafana/dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")  # as it is provisioned
WIDTH, HEIGHT, TAG = 12, 8, "shop"
BOARDS: Mapping[str, Any] = yaml.safe_load((ROOT / "deploy/grafana/panels.yml").read_text())


def documents() -> Mapping[str, str]:
    """The text of each file by its path."""
    encoder = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False)
    return {f"{FOLDER}/{name}.json": encoder.encode(build(name).build()) + "\n" for name in BOARDS}


def build(name: str) -> dashboard.Dashboard:
    title = BOARDS[name]["title"]
    board = dashboard.Dashboard(title).uid(name).tags([TAG]).time("now-1h", "now").refresh("10s")
    board.link(dashboard.DashboardLink("Others").type(DashboardLinkType.DASHBOARDS).tags([TAG]))
    for panel in BOARDS[name]["panels"]:
        board.with_panel(note(panel) if "text" in panel else graph(panel))
    return board


def graph(panel: Mapping[str, Any]) -> timeseries.Panel:
    built = timeseries.Panel().title(panel["title"]).unit(panel["unit"]).description(panel.get("about", ""))
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
    built.legend(legend.placement(LegendPlacement.BOTTOM))
    built.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    for letter, (name, query) in zip(string.ascii_uppercase, panel["queries"].items(), strict=False):
        # An exemplar belongs to a bucket.
        target = prometheus.Dataquery().ref_id(letter).expr(query).legend_format(name).exemplar("_bucket" in query)
        built.with_target(target)
    if "link" in panel:
        built.data_links([dashboard.DashboardLink("The queue in RabbitMQ").url(panel["link"]).target_blank(True)])
    return built.datasource(SOURCE).min(0).span(WIDTH).height(HEIGHT)


def note(panel: Mapping[str, Any]) -> text.Panel:
    built = text.Panel().title(panel["title"]).mode(TextMode.MARKDOWN).content(panel["text"])
    return built.span(WIDTH).height(HEIGHT)
