"""A release after this one, made for the tests: it adds an event type, a status, a reason, a field and a migration.

It flags each order with an event of its own, and postpones orders of two pieces.
"""

import shutil
from pathlib import Path

from tools.stack.services import ROOT

STATUS, REASON, TYPE = "postponed", "out_of_season", "order.flagged"
# By file: what stands there once, and what takes its place.
_CHANGES: dict[str, list[tuple[str, str]]] = {
    "shared/contracts/events.py": [
        ('ORDER_EXPIRED = "order.expired"\n', f'ORDER_EXPIRED = "order.expired"\n    ORDER_FLAGGED = "{TYPE}"\n'),
        (
            'PRODUCT_NOT_FOUND = "product_not_found"\n',
            f'PRODUCT_NOT_FOUND = "product_not_found"\n    OUT_OF_SEASON = "{REASON}"\n',
        ),
        ('["done", "held", "rejected"]', f'["done", "held", "rejected", "{STATUS}"]'),
        (
            "EventType.ORDER_EXPIRED: OrderData(),",
            "EventType.ORDER_EXPIRED: OrderData(), 'order.flagged': OrderData()",
        ),
    ],
    "shared/contracts/requests.py": [('CANCELLED = "cancelled"', f'CANCELLED = "cancelled"\n    LATER = "{STATUS}"')],
    "shared/messaging/topology.py": [
        ("EventType.ORDER_EXPIRED),", "EventType.ORDER_EXPIRED, EventType.ORDER_FLAGGED),")
    ],
    "products/events.py": [
        (
            "    settlement =",
            "    batch = [one for one in batch if one.event.type != 'order.flagged']\n    settlement =",
        )
    ],
    "products/settlement.py": [
        (
            "        shortages = tuple(short for",
            "        if claim.lines[0].quantity == 2:\n"
            "            self._record(claim, 'rejected', reason=Reason.OUT_OF_SEASON)\n"
            "            return\n"
            "        shortages = tuple(short for",
        )
    ],
    "products/views.py": [
        (
            'else "rejected",\n',
            f'else "{STATUS}" if reservation.reason == "{REASON}" else "rejected",\n        "season": "winter",\n',
        )
    ],
    "orders/repository.py": [
        ("'quantity', o.quantity\n    )", "'quantity', o.quantity, 'season', 'winter'\n    )"),
        (
            "    SELECT 'order.created', {_EVENT_DATA}, traceparent FROM placed JOIN draft AS o USING (id)\n)",
            "    SELECT type, {_EVENT_DATA}, traceparent FROM placed JOIN draft AS o USING (id),\n"
            f"        unnest('{{{{order.created,{TYPE}}}}}'::text[]) AS type\n)",
        ),
    ],
    "orders/views.py": [('"status": order.status,\n', '"status": order.status,\n        "season": "winter",\n')],
    "ops/differences.py": [('"held": ("held",),\n', f'"held": ("held",),\n        "{STATUS}": ("rejected",),\n')],
    "ops/checks.py": [
        (
            "WHEN 'rejected' THEN h.statuses",
            f"WHEN '{STATUS}' THEN h.statuses = '{{pending,{STATUS}}}'\n        WHEN 'rejected' THEN h.statuses",
        )
    ],
}
_MIGRATIONS = {
    "products": "ALTER TABLE reservations ADD COLUMN season text;",
    "orders": f"""
        ALTER TABLE orders
            ADD COLUMN season text,
            DROP CONSTRAINT orders_known_status,
            ADD CONSTRAINT orders_known_status CHECK (
                status IN ('pending', 'held', 'done', 'rejected', 'cancelled', 'expired', '{STATUS}')
            ) NOT VALID;
    """,
}


def make(folder: Path) -> Path:
    """Returns the checkout of that release."""
    for name in ("src", "migrations", "docs"):
        shutil.copytree(ROOT / name, folder / name)
    for file, changes in _CHANGES.items():
        for old, new in changes:
            _replace(folder / "src" / file, old, new)
    for service, statements in _MIGRATIONS.items():
        migrations = folder / "migrations" / service
        newest = len(list(migrations.glob("*.sql")))
        (migrations / f"{newest + 1:04}_season.sql").write_text(statements)
        _replace(folder / f"src/{service}/repository.py", f"SCHEMA = {newest}\n", f"SCHEMA = {newest + 1}\n")
    return folder


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} has changed: {old!r} stands there {text.count(old)} times"
    path.write_text(text.replace(old, new))
