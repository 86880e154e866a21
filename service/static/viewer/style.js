/**
 * How a viewer looks. Its colours follow the custom properties `--cam-...`, which a page may set, and
 * the page's color-scheme.
 */

const STYLE = `
:host {
  --_text: var(--cam-text, light-dark(#1b2226, #e8ecee));
  --_soft: var(--cam-text-soft, light-dark(#566067, #a3afb6));
  --_back: var(--cam-background, transparent);
  --_control: var(--cam-control, light-dark(#ffffff, #1b1f22));
  --_stage: var(--cam-stage, light-dark(#e9edee, #0c0f11));
  --_line: var(--cam-line, light-dark(#7b868d, #7d8a92));
  --_accent: var(--cam-accent, light-dark(#17616b, #7cc7d0));
  --_on-accent: var(--cam-on-accent, light-dark(#ffffff, #0c1a1c));
  --_bad: var(--cam-error, light-dark(#a3201d, #ff9d94));
  --_radius: var(--cam-radius, 8px);
  display: block; min-width: 0; container-type: inline-size;
  color: var(--_text); background: var(--_back);
  font: var(--cam-font, 0.875rem/1.45 system-ui, sans-serif);
  font-variant-numeric: tabular-nums;
}
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
p, ul, dl { margin: 0; padding: 0; }
:focus-visible { outline: 3px solid var(--_accent); outline-offset: 2px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }

.frame { --_ratio: 1.5; --_widest: calc(var(--cam-max-height, 70vh) * var(--_ratio)); display: grid;
  gap: 0.75rem; grid-template-columns: minmax(0, 1fr); align-items: start; }
.picture, .side { display: grid; gap: 0.5rem; min-width: 0; grid-template-columns: minmax(0, 1fr); }
.picture { width: 100%; max-width: var(--_widest); margin-inline: auto; }
.side { gap: 0.875rem; }
.stage { position: relative; overflow: hidden; background: var(--_stage); width: 100%;
  aspect-ratio: var(--_ratio); border-radius: var(--_radius); touch-action: pan-y; }
.stage:not([data-state="ready"]) { min-height: 9rem; }
.stage[data-zoomed] { touch-action: none; cursor: grab; }
.stage[data-zoomed]:active { cursor: grabbing; }
.plane { position: absolute; }
.plane canvas, .plane svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.plane[data-coarse] canvas { image-rendering: pixelated; }
.preview { position: absolute; inset: 0; width: 100%; height: 100%; }
.stage[data-state="loading"] :is(.plane, .preview) { opacity: 0.45; }
svg { overflow: visible; fill: none; pointer-events: none; }
svg path { vector-effect: non-scaling-stroke; stroke-linecap: round; }
.halo { stroke: #000; stroke-opacity: 0.6; stroke-width: 4px; }
.halo.light { stroke: #fff; }
.contour { stroke-width: 2px; }
.grid { stroke: #fff; stroke-opacity: 0.85; stroke-width: 1px; }
.grid-halo { stroke: #000; stroke-opacity: 0.35; stroke-width: 2.5px; }
.cross { stroke: #fff; stroke-width: 1.5px; }

.message { position: absolute; inset: 0; display: grid; place-content: center;
  justify-items: center; gap: 0.375rem; padding: 1rem; text-align: center;
  overflow: auto; overflow-wrap: anywhere; }
.message strong { font-size: 1.0625rem; font-weight: 600; }
.message p { max-width: 34em; color: var(--_soft); }
.message.bad strong { color: var(--_bad); }
.message.over { inset: auto auto 0.5rem 0.5rem; display: flex; align-items: center;
  padding: 0.25rem 0.625rem; background: var(--_control); border-radius: var(--_radius); }
.message.over strong { font-size: inherit; }
.message.failed { inset: 0.5rem 0.5rem auto; grid-template-columns: 1fr max-content;
  place-content: initial; justify-items: start; align-items: center; gap: 0 0.75rem; text-align: left;
  padding: 0.375rem 0.625rem; background: var(--_control); border: 1px solid var(--_bad);
  border-radius: var(--_radius); }
.message.failed strong { font-size: inherit; }
.message.failed p { grid-row: 2; max-width: none; }
.message.failed button { grid-column: 2; grid-row: 1 / span 2; }
.spinner { width: 1.75rem; height: 1.75rem; border: 3px solid var(--_line);
  border-top-color: var(--_accent); border-radius: 50%; animation: turn 1s linear infinite; }
.over .spinner { width: 1rem; height: 1rem; border-width: 2px; }
@keyframes turn { to { transform: rotate(1turn); } }
@media (prefers-reduced-motion: reduce) { .spinner { animation: none; } }

.caption { display: grid; gap: 0.125rem; overflow-wrap: anywhere; }
.prediction b { font-size: 1.125rem; font-weight: 600; }
.soft { color: var(--_soft); }
.wrong, .empty { color: var(--_bad); }
.empty { font-weight: 600; }
.bar { display: grid; gap: 0.125rem; color: var(--_soft); font-size: 0.8125rem; }
.bar canvas { width: 100%; height: 0.75rem; border-radius: 3px; background:
  repeating-linear-gradient(45deg, var(--_stage) 0 4px, var(--_line) 4px 5px); }
.ticks { position: relative; height: 1.45em; }
.ticks span { position: absolute; transform: translateX(-50%); }
.ticks span:first-child { left: 0; transform: none; }
.ticks span:last-child { right: 0; transform: none; }
.ticks span:nth-child(2) { left: 25%; }
.ticks span:nth-child(3) { left: 50%; }
.ticks span:nth-child(4) { left: 75%; }
.about-bar { display: flex; justify-content: space-between; gap: 0.5rem; }
.classes { list-style: none; display: grid; gap: 0.25rem; }
.classes li { display: grid; grid-template-columns: minmax(5em, 9em) 1fr max-content;
  gap: 0.5rem; align-items: center; }
.classes li > :last-child { min-width: 4.5em; text-align: right; }
.share { height: 0.5rem; border-radius: 3px; background: var(--_stage); overflow: hidden; }
.share i { display: block; height: 100%; background: var(--_accent); }

.toolbar { display: grid; gap: 0.75rem 1rem; align-items: end;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 14rem), 1fr)); }
.field { display: grid; gap: 0.1875rem; min-width: 0; }
.field > span { display: flex; justify-content: space-between; color: var(--_soft);
  font-size: 0.8125rem; }
.wide { grid-column: 1 / -1; }
small { display: block; margin-top: 0.1875rem; color: var(--_soft); font-size: 0.8125rem; }
.segments, .row { display: flex; flex-wrap: wrap; gap: 0.375rem; }
.row:has(.check) { gap: 0.375rem 1.25rem; }
.segments { flex-wrap: nowrap; gap: 0; }
.segments button { flex: 1; border-radius: 0; margin-left: -1px; padding-inline: 0.25rem; min-width: 0; }
.segments button:first-child { border-radius: 6px 0 0 6px; margin-left: 0; }
.segments button:last-child { border-radius: 0 6px 6px 0; }
.segments button[data-empty]::after { content: " ∅"; }
select, button { font: inherit; color: var(--_text); background: var(--_control);
  border: 1px solid var(--_line); border-radius: 6px; min-height: 2.25rem; cursor: pointer;
  padding: 0.25rem 0.625rem; max-width: 100%; }
select { width: 100%; min-width: 0; text-overflow: ellipsis; }
button:hover:enabled { border-color: var(--_accent); color: var(--_accent); }
button[aria-pressed="true"], button[aria-pressed="true"]:hover { background: var(--_accent);
  border-color: var(--_accent); color: var(--_on-accent); }
button:disabled { opacity: 0.55; cursor: default; }
button:focus-visible { position: relative; z-index: 1; }
input { accent-color: var(--_accent); }
input[type="range"] { width: 100%; height: 1.5rem; margin: 0; }
.check { display: inline-flex; gap: 0.375rem; align-items: center; min-height: 2.25rem; }
.check input { width: 1.125rem; height: 1.125rem; margin: 0; }
.zoom { position: absolute; right: 0.5rem; bottom: 0.5rem; }
.segments.zoom button { flex: none; padding-inline: 0.75rem; white-space: nowrap; }
dialog { color: var(--_text); background: var(--cam-dialog, light-dark(#ffffff, #1b1f22));
  border: 1px solid var(--_line); border-radius: var(--_radius); padding: 1.25rem;
  max-width: min(26rem, calc(100vw - 2rem)); }
dialog::backdrop { background: rgb(0 0 0 / 0.5); }
dialog h2 { margin: 0 0 0.75rem; font-size: 1.0625rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.375rem 1rem; margin-bottom: 1rem; }
dt { font-weight: 600; }
dd { margin: 0; }
@media (forced-colors: active) {
  .stage, .message.over, .message.failed { border: 1px solid CanvasText; }
  .share { border: 1px solid CanvasText; }
  .share i, button[aria-pressed="true"], button[aria-pressed="true"]:hover {
    forced-color-adjust: none; background: Highlight; }
  button[aria-pressed="true"], button[aria-pressed="true"]:hover { color: HighlightText;
    border-color: Highlight; }
  button[aria-pressed="true"]:focus-visible { outline: 3px solid CanvasText; }
  button:disabled { opacity: 1; color: GrayText; border-color: GrayText; }
  .bar canvas { border: 1px solid CanvasText; }
  .spinner { border-color: GrayText; border-top-color: Highlight; forced-color-adjust: none; }
}
@container (min-width: 44rem) {
  .frame[data-controls] { gap: 1.5rem;
    grid-template-columns: minmax(0, var(--_widest)) minmax(18rem, 1fr); }
}
`;

/** The style sheet of all viewers. */
export const sheet = new CSSStyleSheet();
sheet.replaceSync(STYLE);
