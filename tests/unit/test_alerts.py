"""The alerts lead to what the runbook says about them."""

import re

import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

from shared.messaging.topology import QUEUES
from tools.documents import dashboards
from tools.observe import CONFIGURATION
from tools.stack.services import ROOT


def test_each_alert_links_a_section_of_the_runbook_that_says_what_it_means_and_what_to_do() -> None:
    rules = [
        rule
        for path in (CONFIGURATION / "rules").glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    linked = {rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule}
    page = (ROOT / "docs" / "runbook.md").read_text()
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)+)", page, re.MULTILINE))
    parts = ("**Means.**", "**Look.**", "**Do.**", "**Wake somebody.**")
    whole = {
        f"docs/runbook.md#{title.lower().replace(' ', '-')}"
        for title, content in sections.items()
        if all(part in content for part in parts)
    }

    assert linked == whole


def test_the_dashboard_links_every_queue_of_dead_letters() -> None:
    assert not [queue.dead for queue in QUEUES if f"#/queues/%2F/{queue.dead})" not in str(dashboards.BOARDS)]
