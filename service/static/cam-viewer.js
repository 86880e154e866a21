/**
 * <cam-viewer>: an image with its class activation maps, drawn in the browser.
 *
 * One explanation is fetched (facts, all maps, the image beneath); opacity, threshold, colours,
 * layer, contours, zoom and pan then need no request. Attributes, properties, methods and events
 * are described at the class. Colours follow the custom properties `--cam-...`.
 */

/** 256 RGB colours of each map, as base64. */
const TABLES = {
  inferno:
    'AAAEAQAFAQEGAQEIAgEKAgIMAgIOAwIQBAMSBAMUBQQXBgQZBwUbCAUdCQYfCgciCwckDAgmDQgpDgkrEAktEQowEgoyFAs0FQs3Fgs5GAw8GQw+GwxBHAxDHgxFHwxIIQxKIwxMJAxPJgxRKAtTKQtVKwtXLQtZLwpbMQpcMgpeNApfNglhOAliOQljOwlkPQllPglmQApnQgpoRApoRQppRwtqSQtqSgxrTAxrTQ1sTw1sUQ5sUg5tVA9tVQ9tVxBuWRBuWhFuXBJuXRJuXxNuYRNuYhRuZBVuZRVuZxZuaRZuahdubBhubRhubxlucRluchpudBpudRtudxxteBxteh1tfB1tfR5tfx5sgB9sgiBshCBrhSFrhyFriCJqiiJqjCNpjSNpjyRpkCVokiVokyZnlSZnlydmmCdmmihlmylknSlknypjoCpjoitioyxhpSxgpi1gqC5fqS5eqy9erTBdrjBcsDFbsTJaszJatDNZtjRYtzVXuTVWujZVvDdUvThTvzlSwDpRwTpQwztPxDxOxj1Nxz5MyD9LykBKy0FJzEJIzkNHz0RG0EVF0kZE00dD1EhC1UpB10s/2Ew+2U092k4821A73VE63lI431M34FU24VY14lc041kz5Fox5Vww5l0v514u6GAt6WEr6mMq62Qp62Yo7Gcm7Wkl7mok72wj724h8G8g8XEf8XMd8nQc83Yb83gZ9HkY9XsX9X0V9n4U9oAT94IS94QQ+IUP+IcO+IkM+YsL+YwK+Y4J+pAI+pIH+pQH+5YG+5cG+5kG+5sG+50H/J8H/KEI/KMJ/KUK/KYM/KgN/KoP/KwR/K4S/LAU/LIW/LQY+7Ya+7gd+7of+7wh+74j+sAm+sIo+sQq+sYt+ccv+cky+cs1+M03+M8699E999NA9tVD9tdG9dlJ9dtM9N1P9N9T9OFW8+Na8+Vd8uZh8uhl8upp8ext8e1x8e918fF58vJ98vSC8/WG8/aK9PiO9fmS9vqW+Pua+fyd+v2h/P+k',
  viridis:
    'RAFURAJWRQRXRQVZRgdaRghcRgpdRgteRw1gRw5hRxBjRxFkRxNlSBRnSBZoSBdpSBhqSBpsSBttSBxuSB1vSB9wSCBxSCFzSCN0SCR1SCV2SCZ3SCh4SCl5Ryp6Ryx6Ry17Ry58Ry99RjB+RjJ+RjN/RjSARTWBRTeBRTiCRDmDRDqDRDuEQz2EQz6FQj+FQkCGQkGGQUKHQUSHQEWIQEaIP0eIP0iJPkmJPkqJPkyKPU2KPU6KPE+KPFCLO1GLO1KLOlOLOlSMOVWMOVaMOFiMOFmMN1qMN1uNNlyNNl2NNV6NNV+NNGCNNGGNM2KNM2ONMmSOMmWOMWaOMWeOMWiOMGmOMGqOL2uOL2yOLm2OLm6OLm+OLXCOLXGOLHGOLHKOLHOOK3SOK3WOKnaOKneOKniOKXmOKXqOKXuOKHyOKH2OJ36OJ3+OJ4COJoGOJoKOJoKOJYOOJYSOJYWOJIaOJIeOI4iOI4mOI4qNIouNIoyNIo2NIY6NIY+NIZCNIZGMIJKMIJKMIJOMH5SMH5WLH5aLH5eLH5iLH5mKH5qKHpuKHpyJHp2JH56JH5+IH6CIH6GIH6GHH6KHIKOGIKSGIaWFIaaFIqeFIqiEI6mDJKqDJauCJayCJq2BJ62BKK6AKa9/KrB/LLF+LbJ9LrN8L7R8MbV7MrZ6NLZ5Nbd5N7h4OLl3Orp2O7t1Pbx0P7xzQL1yQr5xRL9wRsBvSMFuSsFtTMJsTsNrUMRqUsVpVMVoVsZnWMdlWshkXMhjXsliYMpgY8tfZcteZ8xcac1bbM1abs5YcM9Xc9BWddBUd9FTetFRfNJQf9NOgdNNhNRLhtVJidVIi9ZGjtZFkNdDk9dBldhAmNg+m9k8ndk7oNo5oto3pds2qNs0qtwyrdwwsN0vst0ttd4ruN4put4ovd8mwN8lwt8jxeAhyOAgyuEfzeEd0OEc0uIb1eIa2OIZ2uMZ3eMY3+MY4uQY5eQZ5+QZ6uUa7OUb7+Uc8eUd9OYe9uYg+OYh++cj/ecl',
  turbo:
    'MBI7MhVDMxhKNBtRNR5YNiFfNyRmOCdtOSpzOi15Oy+APDKGPTWLPjiRPzuXPz6cQECiQUOnQUasQkmxQku1Q066RFG/RFTDRFbHRVnLRVzPRV7TRmHWRmTaRmbdRmngRmvjR27mR3HpR3PrR3buR3jwR3vyRn30RoD2RoL4RoX6Rof7RYr8RYz9RI/+Q5H+QpT/QZb/QJn/Ppv+PZ7+O6D9OqP8OKX7N6j6Nav4M633Ma/1L7L0LrTyLLfwKrnuKLzrJ77pJcDnI8PkIsXiIMffH8ndHsvaHM3YG9DVGtLSGtTQGdXNGNfKGNnIGNvFGN3CGN7AGOC9GeK7GeO5GuS2HOa0HeeyH+mvIOqsIuuqJeynJ+6kKu+hLPCeL/GbMvKYNfOUOPSRPPWOP/aKQ/eHRviESviATvl9Uvp6Vfp2WftzXfxvYfxsZf1paf1mbf5icf5fdf5cef5Zff9WgP9ThP9RiP9Oi/9Lj/9Jkv9Hlv5Emf5CnP5An/0/of09pPw8p/w6qfs5rPs4r/o3sfk2tPg2t/c1ufY1vPU0vvQ0wfM0w/E0xvA0yO80y+00zew00Oo00uk11Oc11+U12eQ22+I23eA339834d0349s45dk459c56dU569M57NE67s8678068cs68sk69Mc69cU69sM698E6+L45+bw5+ro5+7g4+7Y3/LM2/LE2/a41/aw0/qkz/qcy/qQx/qEw/p4v/pst/pks/pYr/pMq/pAp/Y0n/Yom/Icl/IQj+4Ei+34h+nsf+Xge+XUd+HIc928a9mwZ9WkY9GYX82MV8mAU8V0T8FsS71gR7VUQ7FMP61AO6k4N6EsM50kM5UcL5EUK4kMK4UEJ3z8I3T0I3DsH2jkH2DcG1jUG1DMF0jEF0C8Fzi0EzCsEyioEyCgDxSYDwyUDwSMCviECvCACuR4Ctx0CtBsBshoBrxgBrBcBqRYBpxQBpBMBoRIBnhABmw8BmA4BlQ0BkgsBjgoBiwkCiAgChQcCgQYCfgUCegQD',
  magma:
    'AAAEAQAFAQEGAQEIAgEJAgILAgINAwMPAwMSBAQUBQQWBgUYBgUaBwYcCAceCQcgCggiCwkkDAkmDQopDgsrEAstEQwvEg0xEw00FA42FQ44Fg87GA89GRA/GhBCHBBEHRFHHhFJIBFLIRFOIhFQJBJTJRJVJxJYKRFaKhFcLBFfLRFhLxFjMRFlMxBnNBBpNhBrOBBsOQ9uOw9wPQ9xPw9yQA90Qg91RA92RRB3RxB4SRB4ShB5TBF6ThF7TxJ7URJ8UhN8VBN9VhR9VxV+WRV+WhZ+XBZ/XRd/Xxh/YBiAYhmAZBqAZRqAZxuAaByBahyBax2BbR2Bbh6BcB+Bch+BcyCBdSGBdiGBeCKBeSKCeyOCfCOCfiSCgCWCgSWBgyaBhCaBhieBiCeBiSiBiymBjCmBjiqBkCqBkSuBkyuAlCyAliyAmC2AmS2Amy5/nC5/ni9/oC9/oTB+ozB+pTF+pjF9qDJ9qjN9qzN8rTR8rjR7sDV7sjV7szZ6tTZ6tzd5uDd5ujh4vDl4vTl3vzp3wDp2wjt1xDx1xTx0xz1zyD5zyj5yzD9xzUBxz0Bw0EFv0kJv00Nu1URt1kVs2EVs2UZr20dq3Ehp3klo30po4Exn4k1m405l5E9k5VBk51Jj6FNi6VRi6lZh61dg7Fhg7Vpf7lte711e8F9e8WBd8mJd8mRc82Vc9Gdc9Glc9Wtc9mxc9m5c93Bc93Jc+HRc+HZc+Xhd+Xld+Xtd+n1e+n9e+oFf+4Nf+4Vg+4dh/Ilh/Ipi/Ixj/I5k/JBl/ZJm/ZRn/ZZo/Zhp/Zpq/Ztr/p1s/p9t/qFu/qNv/qVx/qdy/qlz/qp0/qx2/q53/rB4/rJ6/rR7/rZ8/rd+/rl//ruB/r2C/r+E/sGF/sKH/sSI/saK/siM/sqN/syP/s2Q/s+S/tGU/tOV/tWX/teZ/tia/dqc/dye/d6g/eCh/eKj/eOl/eWn/eep/emq/eus/Oyu/O6w/PCy/PK0/PS2/Pa4/Pe5/Pm7/Pu9/P2/',
  cividis:
    'ACJOACNPACRRACVTACVUACZWACdYAChZAChbACldACpfACphACtiACxkACxmAC1oAC5qAC5sAC9tADBvADBwADFwADFxATJxBTNxCDNwDDRwDzVwEjVwFDZwFjdwGDdvGjhvHDlvHjpvIDpvITtuIzxuJDxuJj1uJz5uKT9uKj9tK0BtLUFtLkFtL0JtMUNtMkNtM0RtNEVsNUVsNkZsOEdsOUhsOkhsO0lsPEpsPUpsPktsP0xsQExsQU1sQk5sQ05sRE9sRVBsRlFsR1FsSFJsSVNsSlNsS1RsTFVsTVVsTlZsT1dsUFdsUVhtUlltU1ptVFptVVttVVxtVlxtV11tWF5tWV5uWl9uW2BuXGFuXWFuXmJuXmNvX2NvYGRvYWVvYmVvY2ZwZGdwZWhwZWhwZmlwZ2pxaGpxaWtxamxxa21ybG1ybG5ybW9ybm9zb3BzcHFzcXJ0cnJ0cnN0c3R1dHR1dXV1dnZ2d3d2d3d3eHh3eXl3enp4e3p4fHt4fXx4fnx4fn14f354gH94gX94goB5g4F5hIJ5hYJ5hoN5h4R4iIV4iYV4ioZ4i4d4jIh4jYh4jol4j4p4kIt4kYt4kox4ko14k454lI53lY93lpB3l5F3mJJ3mZJ3mpN2m5R2nJV2nZV2npZ2n5d1oJh1oZl1opl1o5p0pJt0pZx0ppx0p51zqJ5zqZ9zqqBzq6ByrKFyraJyrqNxr6RxsKVxsaVws6ZwtKdvtahvtqlvt6luuKpuuattuqxtu61tvK5sva5svq9rv7BrwLFqwbJqwrNpw7NpxLRoxbVoxrZnx7dnyLhmyblly7llzLpkzbtjzrxjz71i0L5i0b9h0sBg08Bf1MFf1cJe1sNd18Rc2cVc2sZb28da3MhZ3chY3slY38pX4MtW4cxV4s1U5M5T5c9S5tBR59FQ6NJP6dNO6tNM69RL7dVK7tZJ79dI8NhG8dlF8tpE89tC9dxB9t0/994++N88+eA6++E4/OI2/eM0/uQ0/uU1/uY2/ug4',
  jet:
    'AACAAACEAACIAACMAACQAACUAACYAACcAACgAACkAACoAACsAACwAAC0AAC4AAC8AADAAADEAADIAADMAADQAADUAADYAADcAADgAADkAADoAADsAADwAAD0AAD4AAD8AAD/AAT/AAj/AAz/ABD/ABT/ABj/ABz/ACD/ACT/ACj/ACz/ADD/ADT/ADj/ADz/AED/AET/AEj/AEz/AFD/AFT/AFj/AFz/AGD/AGT/AGj/AGz/AHD/AHT/AHj/AHz/AID/AIT/AIj/AIz/AJD/AJT/AJj/AJz/AKD/AKT/AKj/AKz/ALD/ALT/ALj/ALz/AMD/AMT/AMj/AMz/AND/ANT/ANj/ANz/AOD/AOT/AOj/AOz/APD/APT/APj/APz/Av/+Bv/6Cv/2Dv/yEv/uFv/qGv/mHv/iIv/eJv/aKv/WLv/SMv/ONv/KOv/GPv/CQv++Rv+6Sv+2Tv+yUv+uVv+qWv+mXv+iYv+eZv+aav+Wbv+Scv+Odv+Kev+Gfv+Cgv9+hv96iv92jv9ykv9ulv9qmv9mnv9iov9epv9aqv9Wrv9Ssv9Otv9Kuv9Gvv9Cwv8+xv86yv82zv8y0v8u1v8q2v8m3v8i4v8e5v8a6v8W7v8S8v8O9v8K+v8G/v8B//wA//gA//QA//AA/+wA/+gA/+QA/+AA/9wA/9gA/9QA/9AA/8wA/8gA/8QA/8AA/7wA/7gA/7QA/7AA/6wA/6gA/6QA/6AA/5wA/5gA/5QA/5AA/4wA/4gA/4QA/4AA/3wA/3gA/3QA/3AA/2wA/2gA/2QA/2AA/1wA/1gA/1QA/1AA/0wA/0gA/0QA/0AA/zwA/zgA/zQA/zAA/ywA/ygA/yQA/yAA/xwA/xgA/xQA/xAA/wwA/wgA/wQA/wAA/AAA+AAA9AAA8AAA7AAA6AAA5AAA4AAA3AAA2AAA1AAA0AAAzAAAyAAAxAAAwAAAvAAAuAAAtAAAsAAArAAAqAAApAAAoAAAnAAAmAAAlAAAkAAAjAAAiAAAhAAAgAAA',
};

const LAYERS = ['early', 'mid', 'late', 'fused'];
const METHODS = ['gradcam++', 'gradcam', 'hirescam', 'layercam', 'xgradcam', 'eigencam'];
const LEVELS = [0.25, 0.5, 0.75];
const CONTOUR_SIDE = 256; // contours are traced on at most so many samples a side
const MOST_ZOOM = 16;
const HIGHEST = 65535; // a uint16 map's 1
/** What the view shows, and its defaults; all are attributes. */
const VIEW = {
  layer: '', opacity: '0.6', threshold: '0', colormap: 'inferno', mode: 'colour',
  base: 'original', overlay: 'on', grid: 'off', zoom: '',
};
/** What needs new computing when it changes. */
const COMPUTED = ['model', 'method', 'target', 'clahe', 'image', 'experiment', 'service'];
const OWN_SERVICE = new URL('..', import.meta.url).href.replace(/\/$/, '');
const SVG = 'http://www.w3.org/2000/svg';
const KEYS = [
  ['1 2 3 4', 'layer: early, mid, late, fused'], ['O', 'overlay on and off'],
  ['[ ]', 'less and more opacity'], ['\u2190 \u2192', 'previous and next image'],
  ['+ \u2212 0', 'zoom in, out, whole image'], ['Shift + arrows', 'move the image'],
  ['?', 'this help'],
];

const STYLE = `
:host { --_text: var(--cam-text, light-dark(#1c2321, #e9efec));
  --_soft: var(--cam-text-soft, light-dark(#51605a, #a9b8b1));
  --_back: var(--cam-background, light-dark(#ffffff, #161c1a));
  --_stage: var(--cam-stage, light-dark(#e9eeec, #0c100f));
  --_line: var(--cam-line, light-dark(#76857f, #6f7f78));
  --_accent: var(--cam-accent, light-dark(#0b6e4f, #5fd3a7));
  --_bad: var(--cam-error, light-dark(#a32020, #ff9d94));
  display: block; color-scheme: var(--cam-color-scheme, inherit); color: var(--_text);
  background: var(--_back); font: var(--cam-font, 0.9rem/1.45 system-ui, sans-serif);
  min-width: 0; container-type: inline-size; }
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
:focus-visible { outline: 3px solid var(--_accent); outline-offset: 1px; }
.stage { position: relative; overflow: hidden; background: var(--_stage); aspect-ratio: var(--_shape, 1);
  max-height: var(--cam-max-height, 70vh); width: 100%; touch-action: none; display: grid;
  place-items: center; border-radius: var(--cam-radius, 6px); }
.stage[data-state=ready] { cursor: grab; }
.stage[data-state=ready]:active { cursor: grabbing; }
.plane { position: absolute; transform-origin: 0 0; }
canvas, svg { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
svg { overflow: visible; fill: none; pointer-events: none; }
svg path { vector-effect: non-scaling-stroke; }
.contour-under { stroke: #000; stroke-width: 3.5; opacity: .65; }
.grid-lines { stroke: #fff; stroke-width: 1; opacity: .75; }
.cross-under { stroke: #000; stroke-width: 4; opacity: .6; } .cross { stroke: #fff; stroke-width: 1.5; }
.message { padding: 1.5rem; text-align: center; max-width: 34em; }
.message strong { display: block; font-size: 1.05em; }
.message.bad strong { color: var(--_bad); }
.spinner { width: 2rem; height: 2rem; margin: 0 auto .8rem; border: 3px solid var(--_line);
  border-top-color: var(--_accent); border-radius: 50%; animation: turn 1s linear infinite; }
@keyframes turn { to { transform: rotate(1turn); } }
@media (prefers-reduced-motion: reduce) { .spinner { animation: none; } }
.facts { margin: .6rem 0 0; } .facts b { font-size: 1.1em; }
.top { list-style: none; margin: .3rem 0; padding: 0; display: grid; gap: .2rem; }
.top li { display: grid; grid-template-columns: minmax(6em, 10em) 1fr 4em; gap: .5rem; align-items: center; }
.top span { overflow-wrap: anywhere; } .top span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
meter { width: 100%; height: .7rem; }
.empty { color: var(--_bad); font-weight: 600; margin: .4rem 0; }
.bar { display: grid; grid-template-columns: auto 1fr auto; gap: .5rem; align-items: center; margin-top: .5rem;
  color: var(--_soft); font-size: .85em; }
.bar canvas { position: static; height: .8rem; border-radius: 2px; }
.tools { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .5rem .8rem; margin-top: .7rem; align-items: end; }
.tools label { display: grid; gap: .15rem; color: var(--_soft); font-size: .85em; }
.tools .check { display: flex; gap: .4rem; align-items: center; min-height: 2rem; }
.buttons { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: .4rem; }
.tools label, .tools select { min-width: 0; width: 100%; }
select, button { font: inherit; color: var(--_text); background: var(--_back); border: 1px solid var(--_line);
  border-radius: 5px; padding: .3rem .6rem; min-height: 2rem; max-width: 100%; }
button { cursor: pointer; } button:hover { border-color: var(--_accent); color: var(--_accent); }
input { accent-color: var(--_accent); } input[type=range] { width: 100%; margin: .45rem 0; }
dialog { color: var(--_text); background: var(--_back); border: 1px solid var(--_line); border-radius: 8px; max-width: 24rem; }
dialog dl { display: grid; grid-template-columns: auto 1fr; gap: .35rem 1rem; } dt { font-weight: 600; } dd { margin: 0; }
.live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
`;
const sheet = new CSSStyleSheet();
sheet.replaceSync(STYLE);

/** A problem as the service says it. */
class ViewerProblem extends Error {
  constructor(status, said) {
    super(said.detail || said.title || `The service answered ${status}.`);
    Object.assign(this, { status, code: said.code || 'unknown', title: said.title || 'It did not work', detail: this.message });
  }
}

/** An element with properties (`class`, `text`, `on...`, attributes) and children. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const percent = (value) => `${(100 * value).toFixed(1)} %`;

function bytesOf(colormap) {
  return Uint8Array.from(atob(TABLES[colormap] ?? TABLES.inferno), (one) => one.charCodeAt(0));
}

/** RGBA of every uint16 value, as ImageData holds it: rows of the table, opacity as the service has it. */
function pixelTable({ colormap, opacity, threshold, blend }) {
  const colours = bytesOf(colormap);
  const table = new Uint32Array(HIGHEST + 1);
  const bytes = new Uint8Array(table.buffer);
  for (let value = Math.ceil(threshold * HIGHEST); value <= HIGHEST; value += 1) {
    const share = value / HIGHEST;
    const weight = blend === 'uniform' ? 1 : share * share * (3 - 2 * share);
    const row = 3 * Math.floor((value + 128) / 257);
    const place = 4 * value;
    bytes[place] = colours[row];
    bytes[place + 1] = colours[row + 1];
    bytes[place + 2] = colours[row + 2];
    bytes[place + 3] = Math.round(255 * opacity * weight);
  }
  return table;
}

/** A npy file of little-endian uint16 in C order: its shape and values. */
function readNpy(buffer) {
  const view = new DataView(buffer);
  const start = view.getUint8(6) === 1 ? 10 : 12;
  const length = start === 10 ? view.getUint16(8, true) : view.getUint32(8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, start, length));
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)[1].split(',').filter((one) => one.trim()).map(Number);
  if (!header.includes("'<u2'") || header.includes("'fortran_order': True")) throw new Error('unexpected array');
  return { shape, values: new Uint16Array(buffer, start + length) };
}

/** Marching squares: an SVG path of where the map crosses a level (0..1), in image pixels. */
function contourPath(map, width, height, level) {
  const step = Math.max(1, Math.max(width, height) / CONTOUR_SIDE);
  const columns = Math.max(2, Math.round(width / step));
  const rows = Math.max(2, Math.round(height / step));
  const limit = level * HIGHEST;
  const x = (column) => (column * (width - 1)) / (columns - 1);
  const y = (row) => (row * (height - 1)) / (rows - 1);
  const at = (column, row) => map[Math.round(y(row)) * width + Math.round(x(column))] - limit;
  const point = (c, r, dc, dr, first, second) => {
    const share = first / (first - second);
    const px = x(c) + dc * share * (x(1) - x(0)) + 0.5;
    const py = y(r) + dr * share * (y(1) - y(0)) + 0.5;
    return `${px.toFixed(2)} ${py.toFixed(2)}`;
  };
  const parts = [];
  for (let r = 0; r < rows - 1; r += 1) {
    for (let c = 0; c < columns - 1; c += 1) {
      const [a, b, d, e] = [at(c, r), at(c + 1, r), at(c, r + 1), at(c + 1, r + 1)];
      const crossings = [];
      if (a >= 0 !== b >= 0) crossings.push(point(c, r, 1, 0, a, b));
      if (b >= 0 !== e >= 0) crossings.push(point(c + 1, r, 0, 1, b, e));
      if (d >= 0 !== e >= 0) crossings.push(point(c, r + 1, 1, 0, d, e));
      if (a >= 0 !== d >= 0) crossings.push(point(c, r, 0, 1, a, d));
      // In a saddle the middle decides which crossings belong together.
      if (crossings.length === 4 && a + b + d + e >= 0 !== a >= 0) crossings.unshift(crossings.pop());
      for (let i = 0; i + 1 < crossings.length; i += 2) parts.push(`M${crossings[i]}L${crossings[i + 1]}`);
    }
  }
  return parts.join('');
}

/** One layer's map; `values` are made when first asked for. */
class LayerMap {
  #floats = null;
  constructor(facts, raw, width, height) {
    Object.assign(this, { grid: facts.grid, raw, width, height });
  }

  /** Float32Array, height x width, 0..1. */
  get values() {
    this.#floats ??= Float32Array.from(this.raw, (value) => value / HIGHEST);
    return this.#floats;
  }
}

/**
 * Attributes: service, experiment, image, model, method, target, clahe ("off"); layer, opacity,
 * threshold, colormap, mode (colour|contour), base (original|enhanced), overlay ("off"),
 * grid ("on"), zoom ("scale,x,y"); controls ("none"), alt.
 * Events: cam-load {facts}, cam-error {problem}, cam-change {state}, cam-transform {transform},
 * cam-cursor {cursor}, cam-navigate {step}.
 */
export class CamViewer extends HTMLElement {
  static observedAttributes = [...COMPUTED, ...Object.keys(VIEW), 'controls', 'alt'];

  #headers = {};
  #file = null;
  #facts = null;
  #maps = null;
  #npy = null;
  #bases = {};
  #run = 0;
  #queued = false;
  #drawQueued = false;
  #table = { key: '', pixels: null };
  #transform = { scale: 1, x: 0.5, y: 0.5 };
  #cursor = null;
  #pointers = new Map();
  #abort = null;
  #parts = {};
  #layerCanvas = document.createElement('canvas');
  #image = null;
  #resizing = new ResizeObserver(() => this.#place());
  #onKey = (event) => this.#key(event);

  constructor() {
    super();
    this.attachShadow({ mode: 'open' }).adoptedStyleSheets = [sheet];
    this.#build();
  }

  connectedCallback() {
    if (!this.hasAttribute('tabindex')) this.tabIndex = 0;
    this.#resizing.observe(this.#parts.stage);
    document.addEventListener('keydown', this.#onKey);
    this.#message('empty');
    this.#reload();
  }

  disconnectedCallback() {
    this.#resizing.disconnect();
    document.removeEventListener('keydown', this.#onKey);
    this.#abort?.abort();
  }

  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    if (COMPUTED.includes(name)) {
      this.#reload();
      return;
    }
    if (name === 'zoom') this.#readZoom();
    if (name === 'controls') this.#parts.tools.hidden = now === 'none';
    this.#redraw();
  }

  /** Headers sent with each request. */
  get headers() { return this.#headers; }
  set headers(value) { this.#headers = value ?? {}; this.#reload(); }

  /** An image file to explain, instead of one of the service. */
  get file() { return this.#file; }
  set file(value) { this.#file = value ?? null; this.#reload(); }

  /** What the service said in JSON; null before. */
  get facts() { return this.#facts; }

  /** {width, height, layers: {name: {grid, values, width, height}}}; null before. */
  get maps() { return this.#maps; }

  /** View options that differ from their defaults. Setting puts the others back to them. */
  get state() {
    const entries = Object.keys(VIEW).map((name) => [name, this.getAttribute(name)]);
    return Object.fromEntries(entries.filter(([name, value]) => value !== null && value !== VIEW[name]));
  }

  set state(value) {
    for (const name of Object.keys(VIEW)) this.#set(name, value[name] ?? null);
    for (const name of COMPUTED) if (name !== 'service' && name in value) this.#set(name, value[name]);
  }

  /** {scale >= 1, x, y}: the image's point in the middle of the view, 0..1. */
  get transform() { return { ...this.#transform }; }
  set transform(value) { this.#move(value, false); }

  /** {x, y} in 0..1 of the image, or null: where a crosshair is drawn. */
  get cursor() { return this.#cursor; }
  set cursor(value) { this.#cursor = value; this.#drawCross(); }

  /** What reopens this view, for a query. An uploaded file cannot be named in it. */
  link() {
    const found = new URLSearchParams();
    for (const name of COMPUTED) {
      if (name !== 'service' && this.getAttribute(name)) found.set(name, this.getAttribute(name));
    }
    for (const [name, value] of Object.entries(this.state)) found.set(name, value);
    return found;
  }

  /** Fetch and draw. Problems are shown and sent as cam-error. */
  async load() {
    const run = (this.#run += 1);
    this.#queued = false;
    this.#abort?.abort();
    this.#abort = new AbortController();
    if (!this.#file && !this.getAttribute('image')) {
      this.#message('empty');
      return;
    }
    this.#message('loading');
    try {
      const loaded = await this.#fetchAll();
      if (run !== this.#run) return;
      this.#take(loaded);
      this.#emit('cam-load', { facts: this.#facts });
    } catch (error) {
      if (run !== this.#run || error.name === 'AbortError') return;
      const problem = error instanceof ViewerProblem ? error
        : new ViewerProblem(0, { code: 'offline', title: 'The service cannot be reached', detail: error.message });
      this.#facts = this.#maps = this.#npy = null;
      this.#message('error', problem);
      this.#emit('cam-error', { problem });
    }
  }

  /** PNG as seen, at the image's size: the part in view with contours, grid and colours. */
  async toBlob() {
    const { canvas } = this.#parts;
    const copy = make('canvas', { width: canvas.width, height: canvas.height });
    const context = copy.getContext('2d');
    const { scale, x, y } = this.#transform;
    context.translate(copy.width / 2, copy.height / 2);
    context.scale(scale, scale);
    context.translate(-x * copy.width, -y * copy.height);
    context.drawImage(canvas, 0, 0);
    for (const path of this.#parts.svg.querySelectorAll('path')) {
      const style = getComputedStyle(path);
      const pixel = canvas.width / (this.#parts.plane.offsetWidth || canvas.width);
      context.strokeStyle = style.stroke;
      context.globalAlpha = Number(style.opacity);
      context.lineWidth = (parseFloat(style.strokeWidth) * pixel) / scale;
      context.stroke(new Path2D(path.getAttribute('d') ?? ''));
    }
    return new Promise((resolve) => { copy.toBlob(resolve, 'image/png'); });
  }

  /** Draw at once; else changes are drawn with the next frame. */
  draw() {
    this.#drawQueued = false;
    if (!this.#maps) return;
    this.#drawPixels();
    this.#drawLines();
    this.#describe();
    this.#place();
  }

  // ---- fetching

  #url(path) { return `${(this.getAttribute('service') ?? OWN_SERVICE).replace(/\/$/, '')}/v1/explanations${path}`; }

  async #ask(path, init = {}) {
    const response = await fetch(this.#url(path), {
      ...init, headers: { ...this.#headers, ...init.headers }, signal: this.#abort?.signal,
    });
    if (response.ok) return response;
    throw new ViewerProblem(response.status, await response.json().catch(() => ({})));
  }

  #post(view, accept) {
    const fields = { view };
    for (const name of ['model', 'method', 'target']) {
      if (this.getAttribute(name)) fields[name] = this.getAttribute(name);
    }
    if (!this.#file) {
      if (this.getAttribute('experiment')) fields.experiment = this.getAttribute('experiment');
      fields.image = this.getAttribute('image');
      fields.clahe = this.getAttribute('clahe') !== 'off';
      const headers = { Accept: accept, 'Content-Type': 'application/json' };
      return this.#ask('', { method: 'POST', headers, body: JSON.stringify(fields) });
    }
    const body = new FormData();
    body.append('image', this.#file, this.#file.name ?? 'image');
    for (const [name, value] of Object.entries(fields)) body.append(name, value);
    if (this.getAttribute('clahe') === 'off') body.append('clahe', 'false');
    return this.#ask('', { method: 'POST', headers: { Accept: accept }, body });
  }

  async #fetchAll(again = true) {
    const facts = await (await this.#post('maps', 'application/json')).json();
    try {
      const path = `/${facts.digest}`;
      const kinds = facts.options.clahe ? ['original', 'enhanced'] : ['original'];
      const [array, ...images] = await Promise.all([
        this.#ask(path, { headers: { Accept: 'application/x-npy' } }).then((one) => one.arrayBuffer()),
        ...kinds.map((kind) => this.#fetchImage(`${path}/image?enhanced=${kind === 'enhanced'}`)),
      ]);
      return { facts, array, bases: Object.fromEntries(kinds.map((kind, i) => [kind, images[i]])) };
    } catch (error) {
      if (again && [404, 410].includes(error.status)) return this.#fetchAll(false);
      throw error;
    }
  }

  async #fetchImage(path) {
    const blob = await (await this.#ask(path, { headers: { Accept: 'image/png' } })).blob();
    return createImageBitmap(blob, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  }

  #take({ facts, array, bases }) {
    const { shape: [, height, width], values } = readNpy(array);
    const size = width * height;
    const layers = facts.layers.map((one, i) => [
      one.name, new LayerMap(one, values.subarray(i * size, (i + 1) * size), width, height)]);
    this.#facts = facts;
    this.#npy = array;
    this.#bases = bases;
    this.#maps = { width, height, layers: Object.fromEntries(layers) };
    for (const canvas of [this.#parts.canvas, this.#layerCanvas]) Object.assign(canvas, { width, height });
    this.#image = new ImageData(width, height);
    this.#parts.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.#parts.stage.style.setProperty('--_shape', `${width} / ${height}`);
    this.#message('ready');
    this.#fillControls();
    this.draw();
  }

  // ---- drawing

  #layer() {
    const wanted = this.getAttribute('layer');
    const name = wanted in this.#maps.layers ? wanted : this.#facts.layer;
    return { name, map: this.#maps.layers[name], facts: this.#facts.layers.find((one) => one.name === name) };
  }

  #view(name) { return this.getAttribute(name) ?? VIEW[name]; }

  #number(name) {
    const value = Number(this.#view(name));
    return clamp(Number.isFinite(value) ? value : Number(VIEW[name]), 0, 1);
  }

  #pixels() {
    const wanted = {
      colormap: this.#view('colormap'), opacity: this.#number('opacity'),
      threshold: this.#number('threshold'), blend: this.#facts.options.blend,
    };
    const key = JSON.stringify(wanted);
    if (this.#table.key !== key) this.#table = { key, pixels: pixelTable(wanted) };
    return this.#table.pixels;
  }

  #drawPixels() {
    const context = this.#parts.context;
    context.drawImage(this.#bases[this.#view('base')] ?? this.#bases.original, 0, 0);
    const { map, facts } = this.#layer();
    if (facts.empty || this.#view('overlay') === 'off' || this.#view('mode') === 'contour') return;
    const table = this.#pixels();
    const out = new Uint32Array(this.#image.data.buffer);
    const { raw } = map;
    for (let i = 0; i < raw.length; i += 1) out[i] = table[raw[i]];
    this.#layerCanvas.getContext('2d', { willReadFrequently: true }).putImageData(this.#image, 0, 0);
    context.drawImage(this.#layerCanvas, 0, 0);
  }

  #path(group, d, classes, stroke) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    path.setAttribute('class', classes);
    if (stroke) {
      path.setAttribute('stroke', stroke);
      path.setAttribute('stroke-width', '1.75');
    }
    group.append(path);
  }

  #drawLines() {
    const { width, height } = this.#maps;
    const { name, map, facts } = this.#layer();
    const shown = this.#view('overlay') !== 'off';
    const contour = shown && this.#view('mode') === 'contour' && !facts.empty;
    const { contours, grid } = this.#parts;
    const levels = LEVELS.filter((level) => level >= this.#number('threshold'));
    const key = contour ? `${this.#facts.digest} ${name} ${this.#view('colormap')} ${levels}` : '';
    if (contours.dataset.key !== key) {
      contours.dataset.key = key;
      contours.replaceChildren();
      const colours = bytesOf(this.#view('colormap'));
      for (const level of contour ? levels : []) {
        const d = contourPath(map.raw, width, height, level);
        const row = 3 * Math.round(255 * (0.4 + 0.6 * level));
        this.#path(contours, d, 'contour-under');
        this.#path(contours, d, 'contour', `rgb(${colours.slice(row, row + 3).join(' ')})`);
      }
    }
    contours.setAttribute('opacity', this.#number('opacity') > 0 ? '1' : '0');
    grid.replaceChildren();
    if (this.#view('grid') === 'on') {
      const [rows, columns] = facts.grid;
      let d = '';
      for (let i = 0; i <= columns; i += 1) d += `M${(i * width) / columns} 0V${height}`;
      for (let i = 0; i <= rows; i += 1) d += `M0 ${(i * height) / rows}H${width}`;
      this.#path(grid, d, 'grid-lines');
    }
    this.#drawCross();
  }

  #drawCross() {
    const { cross } = this.#parts;
    cross.replaceChildren();
    if (!this.#cursor || !this.#maps) return;
    const { width, height } = this.#maps;
    const d = `M${this.#cursor.x * width} 0V${height}M0 ${this.#cursor.y * height}H${width}`;
    this.#path(cross, d, 'cross-under');
    this.#path(cross, d, 'cross');
  }

  /** Lay the plane into the stage: the whole image fits at scale 1. */
  #place() {
    if (!this.#maps) return;
    const { stage, plane } = this.#parts;
    const { clientWidth: w, clientHeight: h } = stage;
    const fit = Math.min(w / this.#maps.width, h / this.#maps.height);
    const [pw, ph] = [this.#maps.width * fit, this.#maps.height * fit];
    const { scale, x, y } = this.#transform;
    plane.style.width = `${pw}px`;
    plane.style.height = `${ph}px`;
    plane.style.left = plane.style.top = '0';
    plane.style.transform = `translate(${w / 2 - x * pw * scale}px, ${h / 2 - y * ph * scale}px) scale(${scale})`;
  }

  #describe() {
    const { name, facts } = this.#layer();
    const { prediction, target, top_classes: top } = this.#facts;
    const { canvas, title, empty, bar, bars } = this.#parts;
    const label = `${prediction.name}, ${percent(prediction.probability)}; layer ${name}`;
    const about = target.index === prediction.index ? '' : `; explained: ${target.name}`;
    canvas.setAttribute('aria-label', `${this.getAttribute('alt') ?? this.#facts.image.name}: predicted ${label}${about}`);
    title.replaceChildren(make('b', {}, prediction.name), ` ${percent(prediction.probability)}`,
      target.index === prediction.index ? '' : ` \u2013 explained: ${target.name} (${percent(target.probability)})`,
      ` \u2013 ${name}, ${facts.method}, ${facts.grid.join('\u00d7')} cells`);
    bars.replaceChildren(...top.map((one) => make('li', {}, make('span', {}, one.name),
      make('meter', { min: 0, max: 1, value: one.probability, 'aria-label': one.name }), make('span', {}, percent(one.probability)))));
    empty.textContent = facts.empty ? 'No positive evidence for this class in this layer.' : '';
    empty.hidden = !facts.empty;
    const ramp = new ImageData(256, 1);
    const colours = bytesOf(this.#view('colormap'));
    for (let i = 0; i < 256; i += 1) ramp.data.set([...colours.subarray(3 * i, 3 * i + 3), 255], 4 * i);
    bar.getContext('2d').putImageData(ramp, 0, 0);
    for (const [field, input] of Object.entries(this.#parts.inputs)) {
      const value = field === 'layer' ? name : field in VIEW ? this.#view(field) : this.getAttribute(field) ?? '';
      if (input.type === 'checkbox') input.checked = value === 'on';
      else input.value = value;
    }
  }

  // ---- the parts that stay

  #build() {
    const parts = this.#parts;
    parts.canvas = make('canvas', { role: 'img', 'aria-label': this.getAttribute('alt') ?? 'No image' });
    parts.context = parts.canvas.getContext('2d', { willReadFrequently: true });
    parts.svg = document.createElementNS(SVG, 'svg');
    parts.svg.setAttribute('aria-hidden', 'true');
    for (const name of ['contours', 'grid', 'cross']) {
      parts[name] = document.createElementNS(SVG, 'g');
      parts.svg.append(parts[name]);
    }
    parts.plane = make('div', { class: 'plane' }, parts.canvas, parts.svg);
    parts.message = make('div', { class: 'message' });
    parts.stage = make('div', { class: 'stage' }, parts.plane, parts.message);
    parts.title = make('p', { class: 'facts' });
    parts.empty = make('p', { class: 'empty', hidden: true });
    parts.bars = make('ul', { class: 'top', 'aria-label': 'Most probable classes' });
    parts.bar = make('canvas', { width: 256, height: 1, 'aria-hidden': 'true' });
    parts.scale = make('div', { class: 'bar' }, '0 none', parts.bar, '1 layer\u2019s maximum');
    parts.live = make('div', { class: 'live', role: 'status', 'aria-live': 'polite' });
    parts.help = this.#help();
    parts.tools = this.#toolbar();
    parts.about = make('div', {}, parts.title, parts.empty, parts.scale, parts.bars);
    this.shadowRoot.append(parts.stage, parts.about, parts.tools, parts.live, parts.help);
    this.#listen(parts.stage);
  }

  #toolbar() {
    const choose = (name, label, options) => {
      const input = make('select', { onchange: () => this.#choose(name, input.value) }, ...options.map(([value, text]) => make('option', { value }, text)));
      return [name, input, make('label', {}, label, input)];
    };
    const slide = (name, label) => {
      const input = make('input', { type: 'range', min: 0, max: 1, step: 0.01, oninput: () => this.#choose(name, input.value) });
      return [name, input, make('label', {}, label, input)];
    };
    const tick = (name, label) => {
      const input = make('input', { type: 'checkbox', onchange: () => this.#choose(name, input.checked ? 'on' : 'off') });
      return [name, input, make('label', { class: 'check' }, input, label)];
    };
    const same = (names) => names.map((one) => [one, one]);
    const fields = [
      choose('layer', 'Layer', same(LAYERS)), slide('opacity', 'Opacity'), slide('threshold', 'Threshold'),
      choose('colormap', 'Colours', same(Object.keys(TABLES))),
      choose('mode', 'Drawn as', [['colour', 'colour'], ['contour', 'contour lines']]),
      choose('base', 'Image', [['original', 'original'], ['enhanced', 'contrast enhanced (CLAHE)']]),
      choose('method', 'Method', [['', 'default'], ...same(METHODS)]),
      choose('target', 'Class explained', [['', 'predicted']]),
      tick('overlay', 'Overlay'), tick('grid', 'Native grid'),
    ];
    this.#parts.inputs = Object.fromEntries(fields.map(([name, input]) => [name, input]));
    const button = (text, onclick, label) => make('button', { type: 'button', onclick, 'aria-label': label }, text);
    const buttons = make('div', { class: 'buttons' },
      button('+', () => this.#zoom(1.5), 'Zoom in'), button('\u2212', () => this.#zoom(1 / 1.5), 'Zoom out'),
      button('Whole image', () => this.#move({ scale: 1, x: 0.5, y: 0.5 })),
      button('PNG as seen', () => this.#savePng()), button('Panel', () => this.#savePanel()),
      button('Raw array', () => this.#saveArray()), button('Copy link', () => this.#copyLink()),
      button('?', () => this.#parts.help.showModal(), 'Keys'));
    return make('div', { class: 'tools', role: 'group', 'aria-label': 'View', hidden: true }, ...fields.map((one) => one[2]), buttons);
  }

  #help() {
    const list = make('dl', {}, ...KEYS.flatMap(([key, text]) => [make('dt', {}, key), make('dd', {}, text)]));
    const close = make('button', { type: 'button', onclick: () => dialog.close() }, 'Close');
    const dialog = make('dialog', { 'aria-label': 'Keys' }, list, close);
    return dialog;
  }

  /** Classes and layers are known once the service has answered. */
  #fillControls() {
    const fill = (input, names) => {
      for (const name of names) if (![...input.options].some((one) => one.value === name)) input.append(make('option', { value: name }, name));
    };
    fill(this.#parts.inputs.layer, Object.keys(this.#maps.layers));
    const { target } = this.#parts.inputs;
    target.replaceChildren(make('option', { value: '' }, 'predicted'));
    const wanted = this.getAttribute('target');
    fill(target, [...this.#facts.top_classes.map((one) => one.name), ...(wanted ? [wanted] : [])]);
    this.#parts.inputs.base.options[1].disabled = !this.#facts.options.clahe;
  }

  #message(state, problem) {
    const { stage, message, plane, about, tools, live, canvas } = this.#parts;
    const ready = state === 'ready';
    stage.dataset.state = state;
    stage.setAttribute('aria-busy', String(state === 'loading'));
    for (const part of [plane, about]) part.hidden = !ready;
    tools.hidden = !ready || this.getAttribute('controls') === 'none';
    message.hidden = ready;
    message.className = state === 'error' ? 'message bad' : 'message';
    const words = {
      empty: ['No image yet', 'Choose one to see where the model looked.'],
      loading: ['Looking \u2026', 'The model reads the image.'],
      error: [problem?.title, problem?.detail], ready: ['', ''],
    }[state];
    message.replaceChildren(...(state === 'loading' ? [make('div', { class: 'spinner', 'aria-hidden': 'true' })] : []),
      make('strong', {}, words[0]), words[1],
      ...(state === 'error' ? [make('p', {}, make('button', { type: 'button', onclick: () => this.load() }, 'Try again'))] : []));
    if (!ready) canvas.setAttribute('aria-label', words[0]);
    live.textContent = ready ? `Predicted ${this.#facts.prediction.name}, ${percent(this.#facts.prediction.probability)}` : words.join('. ');
  }

  // ---- changing

  #reload() {
    if (this.#queued || !this.isConnected) return;
    this.#queued = true;
    queueMicrotask(() => { if (this.#queued) this.load(); });
  }

  #redraw() {
    if (this.#drawQueued) return;
    this.#drawQueued = true;
    requestAnimationFrame(() => { if (this.#drawQueued) this.draw(); });
  }

  #set(name, value) {
    if (value === null || value === '' || value === VIEW[name]) this.removeAttribute(name);
    else this.setAttribute(name, value);
  }

  /** A change by the user. */
  #choose(name, value) {
    this.#set(name, value);
    this.#emit('cam-change', { state: this.state });
    if (name === 'layer' && this.#maps) {
      const { name: layer, facts } = this.#layer();
      this.#parts.live.textContent = `Layer ${layer}${facts.empty ? ': no positive evidence for this class in this layer' : ''}`;
    }
  }

  #emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true })); }

  #readZoom() {
    const [scale, x, y] = (this.getAttribute('zoom') ?? '').split(',').map(Number);
    this.#transform = scale >= 1 && x >= 0 && y >= 0
      ? { scale: Math.min(scale, MOST_ZOOM), x: Math.min(x, 1), y: Math.min(y, 1) } : { scale: 1, x: 0.5, y: 0.5 };
    this.#place();
  }

  #move(to, tell = true) {
    const scale = clamp(to.scale, 1, MOST_ZOOM);
    const edge = 0.5 / scale;
    const round = (value) => Number(clamp(value, edge, 1 - edge).toFixed(5));
    this.#transform = { scale, x: round(to.x), y: round(to.y) };
    const { x, y } = this.#transform;
    this.#set('zoom', scale === 1 ? null : `${Number(scale.toFixed(4))},${x},${y}`);
    this.#place();
    if (tell) this.#emit('cam-transform', { transform: this.transform });
  }

  /** Zoom by a factor, the point stays where it is. */
  #zoom(factor, at = this.#transform) {
    const { scale, x, y } = this.#transform;
    const now = clamp(scale * factor, 1, MOST_ZOOM);
    this.#move({ scale: now, x: at.x + ((x - at.x) * scale) / now, y: at.y + ((y - at.y) * scale) / now });
  }

  // ---- pointer and keys

  #at(event) {
    const box = this.#parts.plane.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  }

  #listen(stage) {
    stage.addEventListener('wheel', (event) => {
      if (!this.#maps) return;
      event.preventDefault();
      this.#zoom(Math.exp(-event.deltaY / 400), this.#at(event));
    }, { passive: false });
    stage.addEventListener('pointerdown', (event) => {
      if (!this.#maps || event.button) return;
      this.#pointers.set(event.pointerId, event);
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener('pointermove', (event) => this.#drag(event));
    for (const name of ['pointerup', 'pointercancel']) {
      stage.addEventListener(name, (event) => this.#pointers.delete(event.pointerId));
    }
    stage.addEventListener('pointerleave', () => this.#emit('cam-cursor', { cursor: null }));
  }

  #drag(event) {
    if (!this.#maps) return;
    const at = this.#at(event);
    const inside = at.x >= 0 && at.x <= 1 && at.y >= 0 && at.y <= 1;
    this.#emit('cam-cursor', { cursor: inside ? at : null });
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const others = [...this.#pointers.values()].filter((one) => one.pointerId !== event.pointerId);
    if (others.length) {
      const gap = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY);
      this.#zoom(gap(event) / Math.max(1, gap(before)), this.#at(others[0]));
    } else {
      const old = this.#at(before);
      const { scale, x, y } = this.#transform;
      this.#move({ scale, x: x + old.x - at.x, y: y + old.y - at.y });
    }
    this.#pointers.set(event.pointerId, event);
  }

  /** Whether a key is meant for this viewer: nothing that is written in or has keys of its own. */
  #mine(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !this.#maps) return false;
    const path = event.composedPath();
    const [target] = path;
    const arrow = event.key.startsWith('Arrow');
    if (path.includes(this)) {
      if (this.#parts.help.open || target.matches?.('select')) return false;
      return !(arrow && target.matches?.('input[type=range]'));
    }
    const own = 'input, select, textarea, dialog, cam-viewer, [contenteditable], [role=grid], [role=listbox], [role=menu], [role=tablist]';
    if (target.closest?.(own) || document.querySelector('dialog[open]')) return false;
    const first = [...document.querySelectorAll('cam-viewer')].find((one) => one.getAttribute('controls') !== 'none');
    return first === this;
  }

  #key(event) {
    if (!this.#mine(event)) return;
    const { key } = event;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    const { scale, x, y } = this.#transform;
    const opacity = (by) => this.#choose('opacity', String(Number(clamp(this.#number('opacity') + by, 0, 1).toFixed(2))));
    if (LAYERS[key - 1] in this.#maps.layers) this.#choose('layer', LAYERS[key - 1]);
    else if (key.toLowerCase() === 'o') this.#choose('overlay', this.#view('overlay') === 'off' ? 'on' : 'off');
    else if (key === '[') opacity(-0.1);
    else if (key === ']') opacity(0.1);
    else if (key === '+' || key === '=') this.#zoom(1.5);
    else if (key === '-') this.#zoom(1 / 1.5);
    else if (key === '0') this.#move({ scale: 1, x: 0.5, y: 0.5 });
    else if (key === '?') this.#parts.help.showModal();
    else if (step && event.shiftKey) this.#move({ scale, x: x + (0.1 * step[0]) / scale, y: y + (0.1 * step[1]) / scale });
    else if (step?.[0]) this.#emit('cam-navigate', { step: step[0] });
    else return;
    event.preventDefault();
  }

  // ---- downloads

  #save(blob, ending) {
    const stem = this.#facts.image.name.split('/').pop().replace(/\.[^.]*$/, '');
    const href = URL.createObjectURL(blob);
    make('a', { href, download: `${stem}_${ending}` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  }

  async #savePng() { this.#save(await this.toBlob(), `${this.#layer().name}.png`); }

  #saveArray() { this.#save(new Blob([this.#npy]), 'maps.npy'); }

  async #savePanel() {
    try {
      this.#save(await (await this.#post('panel', 'image/png')).blob(), 'panel.png');
    } catch (error) {
      this.#parts.live.textContent = `The panel could not be had: ${error.message}`;
    }
  }

  async #copyLink() {
    const url = new URL(location.href);
    url.search = this.link();
    await navigator.clipboard?.writeText(url.href).catch(() => {});
    this.#parts.live.textContent = 'Link copied';
  }
}

if (!customElements.get('cam-viewer')) customElements.define('cam-viewer', CamViewer);
