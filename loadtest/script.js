// Orders arrive at a given rate, whatever the system answers; then every one of them must have ended well.

import { check } from 'k6';
import { Counter, Gauge, Trend } from 'k6/metrics';
import { expectedOrders, settings } from './settings.js';
import { createProduct, eachOrder, post, readProducts, settle } from './system.js';

const POST_ORDERS = 'POST /orders';
const MOST_PIECES = 3;
// The share of the answers that is parsed: parsing each would cost k6 as much CPU time as the services need for it.
const PARSED = 0.05;
const SETTLE_MILLISECONDS = 60000;

const accepted = new Counter('orders_accepted');
// Counts orders up as they are accepted, and down as they are found: what remains was lost.
const lost = new Counter('orders_lost');
const byStatus = {
  done: new Counter('orders_done'),
  rejected: new Counter('orders_rejected'),
  cancelled: new Counter('orders_cancelled'),
  pending: new Counter('orders_pending'),
};
const timeToFinal = new Trend('order_time_to_final', true);
const lastFinalAfter = new Gauge('last_final_after', true);
const stockDifference = new Counter('stock_difference');

export const options = {
  scenarios: {
    orders: {
      executor: 'ramping-arrival-rate',
      startRate: settings.startRate,
      timeUnit: '1s',
      stages: [
        { duration: `${settings.rampUp}s`, target: settings.peakRate },
        { duration: `${settings.hold}s`, target: settings.peakRate },
        { duration: `${settings.rampDown}s`, target: 0 },
      ],
      // Enough for answers that take 200 ms; more join if they take longer.
      preAllocatedVUs: Math.ceil(settings.peakRate / 5),
      maxVUs: settings.peakRate * 2,
    },
  },
  thresholds: {
    http_req_failed: ['rate<0.001'],
    [`http_req_duration{name:${POST_ORDERS}}`]: [`p(95)<${settings.p95Limit}`],
    dropped_iterations: ['count==0'],
    checks: ['rate>0.999'],
    orders_done: ['count>0'],
    orders_rejected: ['count==0'],
    orders_pending: ['count==0'],
    orders_lost: ['count<=0'],
    stock_difference: ['count==0'],
  },
  summaryTrendStats: ['avg', 'min', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'],
  setupTimeout: '60s',
  teardownTimeout: '5m',
};

export function setup() {
  const stock = expectedOrders * MOST_PIECES;
  const ids = [];
  for (let number = 1; number <= settings.products; number += 1) {
    ids.push(createProduct(`Load test ${number}`, stock));
  }
  return { ids, stock };
}

export default function order(run) {
  const body = drawn(run.ids);
  const response = post('/orders', body, { name: POST_ORDERS });
  const isAccepted = check(response, {
    'status is 201': (answer) => answer.status === 201,
    'the envelope holds the order': (answer) =>
      answer.status === 201 && (Math.random() >= PARSED || holdsOrder(answer.json(), body)),
  });
  if (isAccepted) {
    accepted.add(1);
    lost.add(1);
  }
}

// Different products, from a random one on; an order of one product names it at its top.
function drawn(ids) {
  const first = Math.floor(Math.random() * ids.length);
  const lines = [];
  for (let number = 0; number < settings.lines; number += 1) {
    const quantity = 1 + Math.floor(Math.random() * MOST_PIECES);
    lines.push({ productId: ids[(first + number) % ids.length], quantity });
  }
  return lines.length === 1 ? lines[0] : { lines };
}

function holdsOrder(envelope, body) {
  const lines = body.lines || [body];
  const { statusCode, data, traceId } = envelope;
  return (
    statusCode === 201 &&
    traceId.length === 32 &&
    data.status === 'pending' &&
    data.lines.length === lines.length &&
    data.lines.every(
      ({ productId, quantity }, at) => productId === lines[at].productId && quantity === lines[at].quantity,
    )
  );
}

export function teardown(run) {
  settle(run.ids, SETTLE_MILLISECONDS);
  const pieces = new Map(run.ids.map((id) => [id, 0]));
  const found = new Set();
  let lastAccepted = 0;
  let lastFinal = 0;
  // A threshold needs a value to judge.
  Object.values(byStatus).forEach((counter) => counter.add(0));
  eachOrder(run.ids, ({ id: orderId, lines, status, createdAt, updatedAt }) => {
    // An order of several products is in the list of each.
    if (found.has(orderId)) {
      return;
    }
    found.add(orderId);
    byStatus[status].add(1);
    lastAccepted = Math.max(lastAccepted, Date.parse(createdAt));
    if (status !== 'pending') {
      lastFinal = Math.max(lastFinal, Date.parse(updatedAt));
      timeToFinal.add(Date.parse(updatedAt) - Date.parse(createdAt));
    }
    if (status === 'done') {
      lines.forEach(({ productId, quantity }) => pieces.set(productId, pieces.get(productId) + quantity));
    }
  });
  lost.add(-found.size);
  lastFinalAfter.add(lastFinal - lastAccepted);
  const differences = readProducts(run.ids).map(({ id, qty }) => Math.abs(run.stock - qty - pieces.get(id)));
  stockDifference.add(differences.reduce((sum, difference) => sum + difference, 0));
}
