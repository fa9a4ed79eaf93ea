// Orders arrive at a given rate, whatever the system answers; then every one of them must have ended well.

import { check } from 'k6';
import {
  POST_ORDERS,
  accepted,
  answers,
  byStatus,
  lastFinalAfter,
  limits,
  lost,
  reportThresholds,
  sliceAt,
  stockDifference,
  timeToFinal,
} from './metrics.js';
import { html } from './report.js';
import { expectedOrders, settings } from './settings.js';
import { text } from './summary.js';
import { createProduct, eachOrder, post, readProducts, settled } from './system.js';

const MOST_PIECES = 3;
// Of the answers: to parse each would cost k6 as much CPU time as the services need for it.
const LOOKED_INTO = 0.05;
const SETTLE_MILLISECONDS = 60000;

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
  thresholds: Object.assign(reportThresholds(), limits),
  summaryTrendStats: ['avg', 'min', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'],
  setupTimeout: '60s',
  teardownTimeout: '5m',
};

export function setup() {
  const stock = expectedOrders * MOST_PIECES;
  const products = [];
  for (let number = 1; number <= settings.products; number += 1) {
    products.push(createProduct(`Load test ${number}`, stock));
  }
  const startedAt = Date.now();
  // The orders' times are by the system's clock, which need not be ours.
  const clockAhead = Date.parse(products[products.length - 1].createdAt) - startedAt;
  return { ids: products.map((product) => product.id), stock, startedAt, clockAhead };
}

export default function order(run) {
  const body = {
    productId: run.ids[Math.floor(Math.random() * run.ids.length)],
    quantity: 1 + Math.floor(Math.random() * MOST_PIECES),
  };
  const slice = sliceAt(Date.now() - run.startedAt);
  const response = post('/orders', body, { name: POST_ORDERS, slice });
  answers.add(1, { status: String(response.status) });
  const isAccepted = check(response, {
    'status is 201': (answer) => answer.status === 201,
    'the envelope holds the order': (answer) =>
      answer.status === 201 && (Math.random() >= LOOKED_INTO || holdsOrder(answer.json(), body)),
  });
  if (isAccepted) {
    accepted.add(1, { slice });
    lost.add(1);
  }
}

function holdsOrder(envelope, body) {
  const { statusCode, data, traceId } = envelope;
  return (
    statusCode === 201 &&
    traceId.length === 32 &&
    data.status === 'pending' &&
    data.productId === body.productId &&
    data.quantity === body.quantity
  );
}

export function teardown(run) {
  settled(run.ids, SETTLE_MILLISECONDS);
  const pieces = new Map(run.ids.map((id) => [id, 0]));
  const startedAt = run.startedAt + run.clockAhead;
  let found = 0;
  let lastAccepted = 0;
  let lastFinal = 0;
  Object.values(byStatus).forEach((counter) => counter.add(0));
  eachOrder(run.ids, (order) => {
    const createdAt = Date.parse(order.createdAt);
    const updatedAt = Date.parse(order.updatedAt);
    found += 1;
    byStatus[order.status].add(1, { slice: sliceAt(updatedAt - startedAt) });
    lastAccepted = Math.max(lastAccepted, createdAt);
    if (order.status !== 'pending') {
      lastFinal = Math.max(lastFinal, updatedAt);
      timeToFinal.add(updatedAt - createdAt);
    }
    if (order.status === 'done') {
      pieces.set(order.productId, pieces.get(order.productId) + order.quantity);
    }
  });
  lost.add(-found);
  lastFinalAfter.add(lastFinal - lastAccepted);
  const differences = readProducts(run.ids).map(({ id, qty }) => Math.abs(run.stock - qty - pieces.get(id)));
  stockDifference.add(differences.reduce((sum, difference) => sum + difference, 0));
}

export function handleSummary(data) {
  const outputs = { stdout: text(data) };
  if (settings.report) {
    outputs[`${settings.report}/index.html`] = html(data);
    outputs[`${settings.report}/summary.json`] = JSON.stringify(data.metrics, null, 1);
  }
  return outputs;
}
