// What is measured beside k6's own metrics, what passes, and how a run is cut into slices for the charts.

import { Counter, Gauge, Trend } from 'k6/metrics';
import { loadSeconds, settings } from './settings.js';

export const POST_ORDERS = 'POST /orders';

// Counted by the load as orders are accepted, and taken off again as they are found: what remains was lost.
export const lost = new Counter('orders_lost');
export const accepted = new Counter('orders_accepted');
export const byStatus = {
  done: new Counter('orders_done'),
  rejected: new Counter('orders_rejected'),
  cancelled: new Counter('orders_cancelled'),
  pending: new Counter('orders_pending'),
};
// By status; 0 is no answer at all.
export const answers = new Counter('answers');
export const STATUSES = [201, 0, 400, 404, 409, 429, 500, 502, 503, 504];
export const timeToFinal = new Trend('order_time_to_final', true);
export const lastFinalAfter = new Gauge('last_final_after', true);
export const stockDifference = new Counter('stock_difference');

export const limits = {
  http_req_failed: ['rate<0.001'],
  [`http_req_duration{name:${POST_ORDERS}}`]: [`p(95)<${settings.p95Limit}`],
  dropped_iterations: ['count==0'],
  checks: ['rate>0.999'],
  orders_done: ['count>0'],
  orders_rejected: ['count==0'],
  orders_pending: ['count==0'],
  orders_lost: ['count<=0'],
  stock_difference: ['count==0'],
};

const MOST_SLICES = 60;
export const sliceSeconds = Math.ceil(loadSeconds / MOST_SLICES);
// One more for whatever comes after the load.
export const sliceCount = Math.ceil(loadSeconds / sliceSeconds) + 1;

export function sliceAt(milliseconds) {
  const slice = Math.floor(milliseconds / 1000 / sliceSeconds);
  return String(Math.max(0, Math.min(slice, sliceCount - 1)));
}

// k6 keeps a metric's values by tag only where a threshold asks for them, so the report needs some that always hold.
export function reportThresholds() {
  const thresholds = {};
  STATUSES.forEach((status) => {
    thresholds[`answers{status:${status}}`] = ['count>=0'];
  });
  for (let slice = 0; slice < sliceCount; slice += 1) {
    thresholds[`http_req_duration{slice:${slice}}`] = ['max>=0'];
    thresholds[`orders_accepted{slice:${slice}}`] = ['count>=0'];
    thresholds[`orders_done{slice:${slice}}`] = ['count>=0'];
  }
  return thresholds;
}
