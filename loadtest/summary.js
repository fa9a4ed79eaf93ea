// The summary on the terminal.

import { figures } from './figures.js';
import { settings } from './settings.js';

const LABELS = ['p50', 'p90', 'p95', 'p99', 'max'];

export function text(data) {
  const run = figures(data);
  const lines = [
    '',
    `${settings.baseUrl}: ${describeLoad()}`,
    '',
    row('orders accepted', whole(run.accepted), `lost ${whole(run.lost)}`),
    row('orders done', whole(run.done), `rejected ${whole(run.rejected)}, pending ${whole(run.pending)}`),
    row('failed requests', percent(run.failedRate), `not sent in time ${whole(run.dropped)}`),
    row('answers', describeAnswers(run)),
    row('last one final', milliseconds(run.lastFinalAfter), 'after the last one accepted'),
    row('stock', run.stock),
    row('time to answer', ...percentiles(run.timeToAnswer)),
    row('time to final', ...percentiles(run.timeToFinal)),
    '',
    ...run.thresholds.map(
      ({ ok, metric, expression, actual }) => `  ${ok ? '✓' : '✗'} ${metric} ${expression} (${number(actual)})`,
    ),
    '',
    run.passed ? '  passed' : '  FAILED',
    '',
  ];
  return lines.join('\n');
}

export function describeLoad() {
  const { startRate, peakRate, rampUp, hold, rampDown, products } = settings;
  return (
    `${startRate} to ${peakRate} orders/s in ${rampUp} s, ${peakRate}/s for ${hold} s, down in ${rampDown} s; ` +
    `${products} products`
  );
}

export function describeAnswers({ answers }) {
  return answers.map(({ status, count }) => `${whole(count)} × ${status || 'none'}`).join(', ');
}

export function whole(count) {
  return String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, ',');
}

export function milliseconds(value) {
  return `${value < 100 ? value.toFixed(1) : whole(value)} ms`;
}

export function percent(rate) {
  return `${(rate * 100).toFixed(3)} %`;
}

export function number(value) {
  if (value === undefined) {
    return 'not measured';
  }
  return Number.isInteger(value) ? whole(value) : String(Number(value.toPrecision(4)));
}

function row(label, ...cells) {
  return `  ${label.padEnd(18)}${cells.join('   ')}`;
}

function percentiles(values) {
  return values.map((value, position) => `${LABELS[position]} ${milliseconds(value)}`);
}
