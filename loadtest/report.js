// The report as one HTML page that needs nothing beside itself.

import { chart } from './chart.js';
import { figures } from './figures.js';
import { sliceCount, sliceSeconds } from './metrics.js';
import { settings } from './settings.js';
import { style } from './style.js';
import { describeAnswers, describeLoad, milliseconds, number, percent, whole } from './summary.js';

const PERCENTILES = ['p50', 'p90', 'p95', 'p99', 'max'];
// `make loadtest` puts what the processes used here, which k6 cannot see.
const PROCESSES = '<!-- processes -->';

export function html(data) {
  const run = figures(data);
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Load test</title>
<style>${style}</style>
<h1>Load test: <span class="${run.passed ? 'good' : 'bad'}">${run.passed ? 'passed' : 'failed'}</span></h1>
<p>POST /orders at ${escape(settings.baseUrl)}, ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC.
${describeLoad()}.</p>
${tiles(run)}
${charts(run)}
<h2>Time</h2>
${table(['', ...PERCENTILES], [
    ['from request to answer', ...run.timeToAnswer.map(milliseconds)],
    ['from accepted to final', ...run.timeToFinal.map(milliseconds)],
  ])}
<h2>Limits</h2>
${table(['', 'limit', 'measured', ''], run.thresholds.map(limitRow))}
${PROCESSES}
`;
}

function tiles(run) {
  const p95 = run.timeToAnswer[PERCENTILES.indexOf('p95')];
  const dropped = `${whole(run.dropped)} not sent in time`;
  return `<div class="tiles">
${tile(whole(run.accepted), `orders accepted, ${whole(run.lost)} lost`)}
${tile(whole(run.done), `done, ${whole(run.rejected)} rejected, ${whole(run.pending)} pending`)}
${tile(percent(run.failedRate), `of the requests failed; ${describeAnswers(run)}; ${dropped}`)}
${tile(milliseconds(p95), 'p95 of the time to answer')}
${tile(milliseconds(run.lastFinalAfter), 'from the last order accepted to the last one final')}
${tile(run.stock, 'stock taken against orders done')}
</div>`;
}

function tile(value, label) {
  return `<div class="tile"><b>${value}</b><small>${label}</small></div>`;
}

function charts(run) {
  const { p50, p95, p99, accepted, done } = run.slices;
  // What lies after the load has no answers, only orders that end.
  const duringLoad = (values) => values.slice(0, -1);
  const times = chart({
    title: 'Time to answer',
    unit: 'ms',
    length: sliceCount,
    step: sliceSeconds,
    limit: { label: `limit of the p95: ${settings.p95Limit} ms`, value: settings.p95Limit },
    series: [
      { label: 'p50', className: 'low', values: duringLoad(p50) },
      { label: 'p95', className: 'middle', values: duringLoad(p95) },
      { label: 'p99', className: 'high', values: duringLoad(p99) },
    ],
  });
  const rates = chart({
    title: 'Orders',
    unit: 'per second',
    length: sliceCount,
    step: sliceSeconds,
    series: [
      { label: 'accepted', className: 'area', filled: true, values: accepted },
      { label: 'done', className: 'middle', values: done },
    ],
  });
  return times + rates;
}

function limitRow({ metric, expression, actual, ok }) {
  const verdict = ok ? '<span class="good">held</span>' : '<span class="bad">broken</span>';
  return [metric, escape(expression), number(actual), verdict];
}

function table(heads, rows) {
  const cells = (tag, values) => values.map((value) => `<${tag}>${value}</${tag}>`).join('');
  return `<table><tr>${cells('th', heads)}</tr>
${rows.map((row) => `<tr>${cells('td', row)}</tr>`).join('\n')}</table>`;
}

function escape(text) {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/"/g, '&quot;');
}
