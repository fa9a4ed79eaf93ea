"""Metrics of stock, beside those of every process."""

from prometheus_client import Counter

ANSWERS = Counter("stock_answers_total", "Orders by what became of their stock, repeats included", ("outcome",))
for _outcome in ("reserved", "rejected", "released", "confirmed"):
    ANSWERS.labels(_outcome)  # 0 from the start
