"""k6's report of a run, completed with what k6 cannot see."""

import html
import json
from pathlib import Path

from tools.costs import Costs

MARK = "<!-- processes -->"


class Report:
    def __init__(self, folder: Path) -> None:
        """Makes the folder; a report of an earlier run there goes."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.page = folder / "index.html"
        self._summary = folder / "summary.json"
        for file in (self.page, self._summary):
            file.unlink(missing_ok=True)

    @property
    def orders(self) -> int:
        """How many the system has accepted; 0 if k6 ended before it could tell."""
        if not self._summary.exists():
            return 0
        metrics = json.loads(self._summary.read_text())
        return int(metrics["orders_accepted"]["values"]["count"]) if "orders_accepted" in metrics else 0

    def add_processes(self, costs: Costs) -> None:
        page = self.page.read_text()
        self.page.write_text(page.replace(MARK, f"<h2>Processes</h2>\n{_table(costs)}"))


def _table(costs: Costs) -> str:
    head, *rows = costs.rows()
    return "\n".join(["<table>", _row("th", head), *(_row("td", row) for row in rows), "</table>"])


def _row(tag: str, cells: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
