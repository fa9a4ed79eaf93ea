// The figures of a finished run, out of the data that k6 gives to handleSummary.

import { POST_ORDERS, STATUSES, limits, sliceCount, sliceSeconds } from './metrics.js';

const PERCENTILES = ['med', 'p(90)', 'p(95)', 'p(99)', 'max'];

export function figures(data) {
  const value = (metric, name = 'count') => (data.metrics[metric] ? data.metrics[metric].values[name] : 0);
  const percentiles = (metric) => PERCENTILES.map((name) => value(metric, name));
  const slices = (metric, name) =>
    Array.from({ length: sliceCount }, (_, slice) => value(`${metric}{slice:${slice}}`, name));
  const perSecond = (metric) => slices(metric).map((count) => count / sliceSeconds);
  const outcomes = thresholds(data);
  return {
    passed: outcomes.every((outcome) => outcome.ok),
    thresholds: outcomes,
    accepted: value('orders_accepted'),
    done: value('orders_done'),
    rejected: value('orders_rejected'),
    pending: value('orders_pending'),
    lost: Math.max(0, value('orders_lost')),
    answers: STATUSES.map((status) => ({ status, count: value(`answers{status:${status}}`) })).filter(
      ({ count }) => count > 0,
    ),
    failedRate: value('http_req_failed', 'rate'),
    dropped: value('dropped_iterations'),
    lastFinalAfter: value('last_final_after', 'value'),
    stock: stock(data.metrics),
    timeToAnswer: percentiles(`http_req_duration{name:${POST_ORDERS}}`),
    timeToFinal: percentiles('order_time_to_final'),
    slices: {
      p50: slices('http_req_duration', 'med'),
      p95: slices('http_req_duration', 'p(95)'),
      p99: slices('http_req_duration', 'p(99)'),
      accepted: perSecond('orders_accepted'),
      done: perSecond('orders_done'),
    },
  };
}

function stock({ last_final_after: endReached, stock_difference: difference }) {
  if (!endReached) {
    return 'not measured';
  }
  return difference.values.count === 0 ? 'adds up' : `differs by ${difference.values.count}`;
}

function thresholds(data) {
  return Object.keys(limits).flatMap((metric) =>
    limits[metric].map((expression) => {
      // A metric that got no value at all was not measured, and what was not measured did not pass.
      const measured = data.metrics[metric] || { values: {}, thresholds: {} };
      const outcome = measured.thresholds[expression];
      const actual = measured.values[/^p\(\d+\)|^\w+/.exec(expression)[0]];
      return { metric, expression, actual, ok: Boolean(outcome && outcome.ok) };
    }),
  );
}
