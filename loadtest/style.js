// The report's style sheet: light or dark as the reader's system is.

export const style = `
:root { color-scheme: light dark; --ground: #f7f7f5; --card: #fff; --ink: #1b1c1e; --quiet: #63666b; --rule: #dcdcd8;
  --good: #18794e; --bad: #c4321d; --low: #86b6ef; --middle: #3d87e0; --high: #184f95; --area: #c9d8ea; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #141517; --card: #1d1f22; --ink: #ececea; --quiet: #9c9fa5; --rule: #34373b;
    --good: #4cc38a; --bad: #ff7a66; --low: #2c5f9e; --middle: #4f97ea; --high: #b4d3f8; --area: #2c3d52; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 940px; padding: 32px 20px 64px; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 26px; }
h2 { margin: 36px 0 10px; font-size: 17px; }
p, small { color: var(--quiet); }
.verdict { font-weight: 600; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 12px; margin: 24px 0; }
.tile { padding: 14px 16px; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
.tile b { display: block; font-size: 24px; font-variant-numeric: tabular-nums; }
figure { margin: 16px 0; padding: 14px 16px 6px; background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; }
figcaption { font-weight: 600; }
figcaption small { font-weight: 400; }
svg { display: block; width: 100%; height: auto; }
.grid { stroke: var(--rule); }
.tick { fill: var(--quiet); font-size: 12px; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
line.limit { stroke: var(--bad); stroke-dasharray: 5 4; }
text.limit { fill: var(--bad); font-size: 12px; paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
.low { stroke: var(--low); } .middle { stroke: var(--middle); } .high { stroke: var(--high); }
.area { stroke: none; fill: var(--area); }
.hover { fill: transparent; }
.hover:hover { fill: var(--quiet); fill-opacity: 0.15; }
.key { margin-left: 14px; color: var(--quiet); font-size: 13px; font-weight: 400; white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: 14px; height: 4px; margin: 0 6px 3px 0; border-radius: 2px; }
.key.low::before { background: var(--low); } .key.middle::before { background: var(--middle); }
.key.high::before { background: var(--high); } .key.area::before { background: var(--area); height: 10px;
  margin-bottom: -1px; }
table { width: 100%; border-collapse: collapse; background: var(--card); border: 1px solid var(--rule);
  font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px; border-top: 1px solid var(--rule); text-align: right; }
th { color: var(--quiet); font-weight: 400; }
th:first-child, td:first-child { text-align: left; }
`;
