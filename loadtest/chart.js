// Line charts as inline SVG; colours come from the page's style sheet by class name.

const WIDTH = 860;
const HEIGHT = 260;
const PLOT = { left: 52, right: 812, top: 14, bottom: 224 };
const TICKS = 4;

// `series`: {label, values, className, filled}, with a value for each of at most `length` slices of `step` seconds.
// `limit`: {label, value}, or nothing.
export function chart({ title, unit, series, length, step, limit }) {
  const highest = Math.max(1, limit ? limit.value * 1.2 : 0, ...series.flatMap(({ values }) => values));
  const top = roundUp(highest);
  const x = (position) => PLOT.left + ((PLOT.right - PLOT.left) * position) / Math.max(1, length - 1);
  const y = (value) => PLOT.bottom - ((PLOT.bottom - PLOT.top) * value) / top;
  return `<figure>
<figcaption>${title} <small>${unit}</small> ${series.map(legend).join(' ')}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}">
${grid(top, y)}
${timeAxis(length, step, x)}
${series.map((one) => line(one, x, y)).join('\n')}
${limit ? limitLine(limit, y) : ''}
${hovers(series, step, unit, x)}
</svg>
</figure>`;
}

function legend({ label, className }) {
  return `<span class="key ${className}">${label}</span>`;
}

function grid(top, y) {
  return Array.from({ length: TICKS + 1 }, (_, tick) => {
    const value = (top * tick) / TICKS;
    return `<line class="grid" x1="${PLOT.left}" x2="${PLOT.right}" y1="${y(value)}" y2="${y(value)}"/>
<text class="tick" x="${PLOT.left - 8}" y="${y(value) + 4}" text-anchor="end">${value}</text>`;
  }).join('\n');
}

function timeAxis(length, step, x) {
  const between = Math.max(1, Math.round(roundUp((length * step) / 12) / step));
  const labels = [];
  for (let position = 0; position < length; position += between) {
    labels.push(
      `<text class="tick" x="${x(position)}" y="${PLOT.bottom + 20}" text-anchor="middle">${position * step} s</text>`,
    );
  }
  return labels.join('\n');
}

function line({ values, className, filled }, x, y) {
  const points = values.map((value, position) => `${x(position).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
  if (filled) {
    const end = `${x(values.length - 1)},${PLOT.bottom}`;
    return `<polygon class="area ${className}" points="${PLOT.left},${PLOT.bottom} ${points} ${end}"/>`;
  }
  return `<polyline class="line ${className}" points="${points}"/>`;
}

function limitLine({ label, value }, y) {
  return `<line class="limit" x1="${PLOT.left}" x2="${PLOT.right}" y1="${y(value)}" y2="${y(value)}"/>
<text class="limit" x="${PLOT.left + 6}" y="${y(value) - 6}">${label}</text>`;
}

// A browser shows a <title> when the pointer rests on its shape, without any script.
function hovers(series, step, unit, x) {
  const width = x(1) - x(0);
  return series[0].values
    .map((_, position) => {
      const values = series.map(({ label, values: all }) => `${label} ${all[position].toFixed(1)}`);
      return `<rect class="hover" x="${x(position) - width / 2}" y="${PLOT.top}" width="${width}" \
height="${PLOT.bottom - PLOT.top}"><title>${position * step} s: ${values.join(', ')} (${unit})</title></rect>`;
    })
    .join('\n');
}

// So that a quarter of it is a short number.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 1.2, 1.6, 2, 3, 4, 6, 8, 10].find((factor) => factor * power >= value);
}
