// What a run is, from the environment; README.md lists the variables.

export const settings = Object.freeze({
  baseUrl: (__ENV.BASE_URL || 'http://localhost:4000').replace(/\/+$/, ''),
  products: whole('PRODUCTS', 10),
  lines: whole('LINES', 1),
  startRate: whole('START_RATE', 200),
  peakRate: whole('PEAK_RATE', 1000),
  rampUp: seconds('RAMP_UP', '30s'),
  hold: seconds('HOLD', '60s'),
  rampDown: seconds('RAMP_DOWN', '20s'),
  p95Limit: whole('P95_MS', 50),
});

if (settings.lines > settings.products) {
  throw new Error('LINES must not be more than PRODUCTS');
}

export const expectedOrders = Math.ceil(
  ((settings.startRate + settings.peakRate) / 2) * settings.rampUp +
    settings.peakRate * settings.hold +
    (settings.peakRate / 2) * settings.rampDown,
);

function whole(name, byDefault) {
  const number = Number(__ENV[name] || byDefault);
  if (!Number.isInteger(number) || number < 1) {
    throw new Error(`${name} must be a positive integer`);
  }
  return number;
}

function seconds(name, byDefault) {
  const parts = /^(?:(\d+)m)?(?:(\d+)s)?$/.exec(__ENV[name] || byDefault);
  const total = parts ? 60 * (parts[1] || 0) + Number(parts[2] || 0) : 0;
  if (total < 1) {
    throw new Error(`${name} must be a duration like 90s or 1m30s`);
  }
  return total;
}
