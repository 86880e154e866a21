/**
 * <cam-viewer>: an image with its class activation maps, drawn in the browser.
 *
 * One explanation is fetched: facts, the cells of all maps, the image beneath. Opacity, threshold,
 * colours, layer, contours, zoom and pan then need no request. Attributes, properties, methods and events
 * are described at the class. Looks follow the custom properties `--cam-...` (see STYLE) and the
 * page's color-scheme; `::part()` reaches toolbar, stage, caption, bar, classes, method, target.
 *
 * The file may be loaded from another origin; what it imports comes from beside it.
 */

import { figureOf, fileName, withText } from "./viewer/figure.js";
import { cellsOf, fullSizeMap } from "./viewer/maps.js";

/** 256 RGB colours of each colour map, as base64; those of the service (a test compares). */
const TABLES = {
  inferno:
    "AAAEAQAFAQEGAQEIAgEKAgIMAgIOAwIQBAMSBAMUBQQXBgQZBwUbCAUdCQYfCgciCwckDAgmDQgpDgkrEAktEQowEgoyFAs0FQs3Fgs5GAw8GQw+GwxBHAxDHgxFHwxIIQxKIwxMJAxPJgxRKAtTKQtVKwtXLQtZLwpbMQpcMgpeNApfNglhOAliOQljOwlkPQllPglmQApnQgpoRApoRQppRwtqSQtqSgxrTAxrTQ1sTw1sUQ5sUg5tVA9tVQ9tVxBuWRBuWhFuXBJuXRJuXxNuYRNuYhRuZBVuZRVuZxZuaRZuahdubBhubRhubxlucRluchpudBpudRtudxxteBxteh1tfB1tfR5tfx5sgB9sgiBshCBrhSFrhyFriCJqiiJqjCNpjSNpjyRpkCVokiVokyZnlSZnlydmmCdmmihlmylknSlknypjoCpjoitioyxhpSxgpi1gqC5fqS5eqy9erTBdrjBcsDFbsTJaszJatDNZtjRYtzVXuTVWujZVvDdUvThTvzlSwDpRwTpQwztPxDxOxj1Nxz5MyD9LykBKy0FJzEJIzkNHz0RG0EVF0kZE00dD1EhC1UpB10s/2Ew+2U092k4821A73VE63lI431M34FU24VY14lc041kz5Fox5Vww5l0v514u6GAt6WEr6mMq62Qp62Yo7Gcm7Wkl7mok72wj724h8G8g8XEf8XMd8nQc83Yb83gZ9HkY9XsX9X0V9n4U9oAT94IS94QQ+IUP+IcO+IkM+YsL+YwK+Y4J+pAI+pIH+pQH+5YG+5cG+5kG+5sG+50H/J8H/KEI/KMJ/KUK/KYM/KgN/KoP/KwR/K4S/LAU/LIW/LQY+7Ya+7gd+7of+7wh+74j+sAm+sIo+sQq+sYt+ccv+cky+cs1+M03+M8699E999NA9tVD9tdG9dlJ9dtM9N1P9N9T9OFW8+Na8+Vd8uZh8uhl8upp8ext8e1x8e918fF58vJ98vSC8/WG8/aK9PiO9fmS9vqW+Pua+fyd+v2h/P+k",
  viridis:
    "RAFURAJWRQRXRQVZRgdaRghcRgpdRgteRw1gRw5hRxBjRxFkRxNlSBRnSBZoSBdpSBhqSBpsSBttSBxuSB1vSB9wSCBxSCFzSCN0SCR1SCV2SCZ3SCh4SCl5Ryp6Ryx6Ry17Ry58Ry99RjB+RjJ+RjN/RjSARTWBRTeBRTiCRDmDRDqDRDuEQz2EQz6FQj+FQkCGQkGGQUKHQUSHQEWIQEaIP0eIP0iJPkmJPkqJPkyKPU2KPU6KPE+KPFCLO1GLO1KLOlOLOlSMOVWMOVaMOFiMOFmMN1qMN1uNNlyNNl2NNV6NNV+NNGCNNGGNM2KNM2ONMmSOMmWOMWaOMWeOMWiOMGmOMGqOL2uOL2yOLm2OLm6OLm+OLXCOLXGOLHGOLHKOLHOOK3SOK3WOKnaOKneOKniOKXmOKXqOKXuOKHyOKH2OJ36OJ3+OJ4COJoGOJoKOJoKOJYOOJYSOJYWOJIaOJIeOI4iOI4mOI4qNIouNIoyNIo2NIY6NIY+NIZCNIZGMIJKMIJKMIJOMH5SMH5WLH5aLH5eLH5iLH5mKH5qKHpuKHpyJHp2JH56JH5+IH6CIH6GIH6GHH6KHIKOGIKSGIaWFIaaFIqeFIqiEI6mDJKqDJauCJayCJq2BJ62BKK6AKa9/KrB/LLF+LbJ9LrN8L7R8MbV7MrZ6NLZ5Nbd5N7h4OLl3Orp2O7t1Pbx0P7xzQL1yQr5xRL9wRsBvSMFuSsFtTMJsTsNrUMRqUsVpVMVoVsZnWMdlWshkXMhjXsliYMpgY8tfZcteZ8xcac1bbM1abs5YcM9Xc9BWddBUd9FTetFRfNJQf9NOgdNNhNRLhtVJidVIi9ZGjtZFkNdDk9dBldhAmNg+m9k8ndk7oNo5oto3pds2qNs0qtwyrdwwsN0vst0ttd4ruN4put4ovd8mwN8lwt8jxeAhyOAgyuEfzeEd0OEc0uIb1eIa2OIZ2uMZ3eMY3+MY4uQY5eQZ5+QZ6uUa7OUb7+Uc8eUd9OYe9uYg+OYh++cj/ecl",
  turbo:
    "MBI7MhVDMxhKNBtRNR5YNiFfNyRmOCdtOSpzOi15Oy+APDKGPTWLPjiRPzuXPz6cQECiQUOnQUasQkmxQku1Q066RFG/RFTDRFbHRVnLRVzPRV7TRmHWRmTaRmbdRmngRmvjR27mR3HpR3PrR3buR3jwR3vyRn30RoD2RoL4RoX6Rof7RYr8RYz9RI/+Q5H+QpT/QZb/QJn/Ppv+PZ7+O6D9OqP8OKX7N6j6Nav4M633Ma/1L7L0LrTyLLfwKrnuKLzrJ77pJcDnI8PkIsXiIMffH8ndHsvaHM3YG9DVGtLSGtTQGdXNGNfKGNnIGNvFGN3CGN7AGOC9GeK7GeO5GuS2HOa0HeeyH+mvIOqsIuuqJeynJ+6kKu+hLPCeL/GbMvKYNfOUOPSRPPWOP/aKQ/eHRviESviATvl9Uvp6Vfp2WftzXfxvYfxsZf1paf1mbf5icf5fdf5cef5Zff9WgP9ThP9RiP9Oi/9Lj/9Jkv9Hlv5Emf5CnP5An/0/of09pPw8p/w6qfs5rPs4r/o3sfk2tPg2t/c1ufY1vPU0vvQ0wfM0w/E0xvA0yO80y+00zew00Oo00uk11Oc11+U12eQ22+I23eA339834d0349s45dk459c56dU569M57NE67s8678068cs68sk69Mc69cU69sM698E6+L45+bw5+ro5+7g4+7Y3/LM2/LE2/a41/aw0/qkz/qcy/qQx/qEw/p4v/pst/pks/pYr/pMq/pAp/Y0n/Yom/Icl/IQj+4Ei+34h+nsf+Xge+XUd+HIc928a9mwZ9WkY9GYX82MV8mAU8V0T8FsS71gR7VUQ7FMP61AO6k4N6EsM50kM5UcL5EUK4kMK4UEJ3z8I3T0I3DsH2jkH2DcG1jUG1DMF0jEF0C8Fzi0EzCsEyioEyCgDxSYDwyUDwSMCviECvCACuR4Ctx0CtBsBshoBrxgBrBcBqRYBpxQBpBMBoRIBnhABmw8BmA4BlQ0BkgsBjgoBiwkCiAgChQcCgQYCfgUCegQD",
  magma:
    "AAAEAQAFAQEGAQEIAgEJAgILAgINAwMPAwMSBAQUBQQWBgUYBgUaBwYcCAceCQcgCggiCwkkDAkmDQopDgsrEAstEQwvEg0xEw00FA42FQ44Fg87GA89GRA/GhBCHBBEHRFHHhFJIBFLIRFOIhFQJBJTJRJVJxJYKRFaKhFcLBFfLRFhLxFjMRFlMxBnNBBpNhBrOBBsOQ9uOw9wPQ9xPw9yQA90Qg91RA92RRB3RxB4SRB4ShB5TBF6ThF7TxJ7URJ8UhN8VBN9VhR9VxV+WRV+WhZ+XBZ/XRd/Xxh/YBiAYhmAZBqAZRqAZxuAaByBahyBax2BbR2Bbh6BcB+Bch+BcyCBdSGBdiGBeCKBeSKCeyOCfCOCfiSCgCWCgSWBgyaBhCaBhieBiCeBiSiBiymBjCmBjiqBkCqBkSuBkyuAlCyAliyAmC2AmS2Amy5/nC5/ni9/oC9/oTB+ozB+pTF+pjF9qDJ9qjN9qzN8rTR8rjR7sDV7sjV7szZ6tTZ6tzd5uDd5ujh4vDl4vTl3vzp3wDp2wjt1xDx1xTx0xz1zyD5zyj5yzD9xzUBxz0Bw0EFv0kJv00Nu1URt1kVs2EVs2UZr20dq3Ehp3klo30po4Exn4k1m405l5E9k5VBk51Jj6FNi6VRi6lZh61dg7Fhg7Vpf7lte711e8F9e8WBd8mJd8mRc82Vc9Gdc9Glc9Wtc9mxc9m5c93Bc93Jc+HRc+HZc+Xhd+Xld+Xtd+n1e+n9e+oFf+4Nf+4Vg+4dh/Ilh/Ipi/Ixj/I5k/JBl/ZJm/ZRn/ZZo/Zhp/Zpq/Ztr/p1s/p9t/qFu/qNv/qVx/qdy/qlz/qp0/qx2/q53/rB4/rJ6/rR7/rZ8/rd+/rl//ruB/r2C/r+E/sGF/sKH/sSI/saK/siM/sqN/syP/s2Q/s+S/tGU/tOV/tWX/teZ/tia/dqc/dye/d6g/eCh/eKj/eOl/eWn/eep/emq/eus/Oyu/O6w/PCy/PK0/PS2/Pa4/Pe5/Pm7/Pu9/P2/",
  cividis:
    "ACJOACNPACRRACVTACVUACZWACdYAChZAChbACldACpfACphACtiACxkACxmAC1oAC5qAC5sAC9tADBvADBwADFwADFxATJxBTNxCDNwDDRwDzVwEjVwFDZwFjdwGDdvGjhvHDlvHjpvIDpvITtuIzxuJDxuJj1uJz5uKT9uKj9tK0BtLUFtLkFtL0JtMUNtMkNtM0RtNEVsNUVsNkZsOEdsOUhsOkhsO0lsPEpsPUpsPktsP0xsQExsQU1sQk5sQ05sRE9sRVBsRlFsR1FsSFJsSVNsSlNsS1RsTFVsTVVsTlZsT1dsUFdsUVhtUlltU1ptVFptVVttVVxtVlxtV11tWF5tWV5uWl9uW2BuXGFuXWFuXmJuXmNvX2NvYGRvYWVvYmVvY2ZwZGdwZWhwZWhwZmlwZ2pxaGpxaWtxamxxa21ybG1ybG5ybW9ybm9zb3BzcHFzcXJ0cnJ0cnN0c3R1dHR1dXV1dnZ2d3d2d3d3eHh3eXl3enp4e3p4fHt4fXx4fnx4fn14f354gH94gX94goB5g4F5hIJ5hYJ5hoN5h4R4iIV4iYV4ioZ4i4d4jIh4jYh4jol4j4p4kIt4kYt4kox4ko14k454lI53lY93lpB3l5F3mJJ3mZJ3mpN2m5R2nJV2nZV2npZ2n5d1oJh1oZl1opl1o5p0pJt0pZx0ppx0p51zqJ5zqZ9zqqBzq6ByrKFyraJyrqNxr6RxsKVxsaVws6ZwtKdvtahvtqlvt6luuKpuuattuqxtu61tvK5sva5svq9rv7BrwLFqwbJqwrNpw7NpxLRoxbVoxrZnx7dnyLhmyblly7llzLpkzbtjzrxjz71i0L5i0b9h0sBg08Bf1MFf1cJe1sNd18Rc2cVc2sZb28da3MhZ3chY3slY38pX4MtW4cxV4s1U5M5T5c9S5tBR59FQ6NJP6dNO6tNM69RL7dVK7tZJ79dI8NhG8dlF8tpE89tC9dxB9t0/994++N88+eA6++E4/OI2/eM0/uQ0/uU1/uY2/ug4",
  jet:
    "AACAAACEAACIAACMAACQAACUAACYAACcAACgAACkAACoAACsAACwAAC0AAC4AAC8AADAAADEAADIAADMAADQAADUAADYAADcAADgAADkAADoAADsAADwAAD0AAD4AAD8AAD/AAT/AAj/AAz/ABD/ABT/ABj/ABz/ACD/ACT/ACj/ACz/ADD/ADT/ADj/ADz/AED/AET/AEj/AEz/AFD/AFT/AFj/AFz/AGD/AGT/AGj/AGz/AHD/AHT/AHj/AHz/AID/AIT/AIj/AIz/AJD/AJT/AJj/AJz/AKD/AKT/AKj/AKz/ALD/ALT/ALj/ALz/AMD/AMT/AMj/AMz/AND/ANT/ANj/ANz/AOD/AOT/AOj/AOz/APD/APT/APj/APz/Av/+Bv/6Cv/2Dv/yEv/uFv/qGv/mHv/iIv/eJv/aKv/WLv/SMv/ONv/KOv/GPv/CQv++Rv+6Sv+2Tv+yUv+uVv+qWv+mXv+iYv+eZv+aav+Wbv+Scv+Odv+Kev+Gfv+Cgv9+hv96iv92jv9ykv9ulv9qmv9mnv9iov9epv9aqv9Wrv9Ssv9Otv9Kuv9Gvv9Cwv8+xv86yv82zv8y0v8u1v8q2v8m3v8i4v8e5v8a6v8W7v8S8v8O9v8K+v8G/v8B//wA//gA//QA//AA/+wA/+gA/+QA/+AA/9wA/9gA/9QA/9AA/8wA/8gA/8QA/8AA/7wA/7gA/7QA/7AA/6wA/6gA/6QA/6AA/5wA/5gA/5QA/5AA/4wA/4gA/4QA/4AA/3wA/3gA/3QA/3AA/2wA/2gA/2QA/2AA/1wA/1gA/1QA/1AA/0wA/0gA/0QA/0AA/zwA/zgA/zQA/zAA/ywA/ygA/yQA/yAA/xwA/xgA/xQA/xAA/wwA/wgA/wQA/wAA/AAA+AAA9AAA8AAA7AAA6AAA5AAA4AAA3AAA2AAA1AAA0AAAzAAAyAAAxAAAwAAAvAAAuAAAtAAAsAAArAAAqAAApAAAoAAAnAAAmAAAlAAAkAAAjAAAiAAAhAAAgAAA",
};

const LAYERS = ["early", "mid", "late", "fused"];
const METHODS = ["gradcam++", "gradcam", "hirescam", "layercam", "xgradcam", "eigencam"];
const LEVELS = [0.25, 0.5, 0.75]; // of contour lines, as shares of the layer's maximum
const CONTOUR_SIDE = 256; // contours are traced on at most so many samples a side
const STEPS = 16; // levels that one colour is drawn with: two at its edges, the rest within
const EDGE = 1 / 1024; // width of an edge, as a share of the colour's
const MOST_ZOOM = 16;
const MOST_TOP = 5; // so many most probable classes at most are in an answer
const KEPT_BYTES = 96 * 2 ** 20; // explanations at hand for viewers of the same image
const MOST_SIDE = 2048; // px, of a picture that is downloaded
const LARGE_FILE = 2 ** 18; // bytes
const PREVIEW_WIDTH = 1024; // px, of a large file
const OFFLINE = { code: "offline", title: "The service cannot be reached" };
const PASSING = [429, 502, 503, 504]; // such refusals pass: it is tried again
const FIRST_PAUSE = 2; // s before that, and twice as long each time
const LONGEST_PAUSE = 30;
const NO_EVIDENCE = "No positive evidence for this class in this layer.";

/** What the view shows, and its defaults; all are attributes. */
const VIEW = {
  layer: "",
  opacity: "0.6",
  threshold: "0",
  colormap: "inferno",
  mode: "colour",
  base: "original",
  overlay: "on",
  grid: "off",
  zoom: "",
};
/** Attributes that need new computing when they change. */
const COMPUTED = ["experiment", "image", "model", "method", "target", "clahe"];
const OWN_SERVICE = new URL("..", import.meta.url).href;
const SVG = "http://www.w3.org/2000/svg";
const LINK = "Copy the link to this view";
const WHOLE = { scale: 1, x: 0.5, y: 0.5 };

const KEYS = [
  ["1 2 3 4", "layer: early, mid, late, fused"],
  ["O", "overlay on and off"],
  ["[ ]", "less and more opacity"],
  ["C", "colour or contour lines"],
  ["B", "image as it is, or after CLAHE"],
  ["G", "native grid"],
  ["← →", "previous and next image"],
  ["+ − 0", "zoom in, out, whole image"],
  ["Shift + arrows", "move the image"],
  ["?", "this help"],
];

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

const sheet = new CSSStyleSheet();
sheet.replaceSync(STYLE);

// ---- small helpers

/** An element; `on...` are listeners, false and null attributes are left out. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** An SVG path. */
function makePath(classes, d, stroke = null) {
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("class", classes);
  path.setAttribute("d", d);
  if (stroke) path.setAttribute("stroke", stroke);
  return path;
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const title = (name) => name.charAt(0).toUpperCase() + name.slice(1);

/** A probability in words; what is not certain is not called 100 %. */
function percent(share) {
  if (share < 0.0005) return "< 0.1 %";
  return share > 0.9995 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`;
}

const tableBytes = new Map();

/** (256 x 3) bytes RGB of a colour map; of the default where the name is unknown. */
function coloursOf(name) {
  const known = Object.hasOwn(TABLES, name) ? name : VIEW.colormap;
  if (!tableBytes.has(known)) {
    tableBytes.set(known, Uint8Array.from(atob(TABLES[known]), (one) => one.charCodeAt(0)));
  }
  return tableBytes.get(known);
}

// ---- drawing: numbers in, pixels or paths out

/**
 * A map in levels that a small table can hold: STEPS a colour, whose borders are those of the
 * service's colours, round(255 value). A table of many more would not stay in the processor's first
 * cache.
 */
function levelsOf(values) {
  const levels = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const place = 255 * values[i] + 0.5;
    const row = place | 0;
    const inside = place - row;
    const step = inside < EDGE ? 0 : inside >= 1 - EDGE ? STEPS - 1 : 1 + ((inside * (STEPS - 2)) | 0);
    levels[i] = row * STEPS + step;
  }
  return levels;
}

/** The value, 0..1, in the middle of a level. */
function valueOf(level) {
  const inside = clamp(((level % STEPS) - 0.5) / (STEPS - 2), 0, 1);
  return clamp((Math.floor(level / STEPS) + inside - 0.5) / 255, 0, 1);
}

/**
 * What a level of the map does to a pixel: result = (keep * image + opacity * colour) / 256,
 * rounded; red and blue in one number. Opacity is the service's: adaptive is a smoothstep of the
 * value times `opacity`. So are the colours, but at the edge of one it is mixed with the next: maps
 * agree with the service's to a millionth or so, and a value may be beyond the edge there.
 */
function blendTable({ colormap, opacity, threshold, blend }) {
  const colours = coloursOf(colormap);
  const count = 256 * STEPS;
  const keep = new Int32Array(count).fill(256);
  const redBlue = new Int32Array(count).fill(0x800080);
  const green = new Int32Array(count).fill(0x80);
  for (let level = 0; level < count; level++) {
    const share = valueOf(level);
    if (share < threshold) continue;
    const weight = blend === "uniform" ? 1 : share * share * (3 - 2 * share);
    const part = Math.round(256 * opacity * weight);
    const row = Math.floor(level / STEPS);
    const step = level % STEPS === 0 ? -1 : Number(level % STEPS === STEPS - 1);
    const [red, greens, blue] = between(colours, row, clamp(row + step, 0, 255), part);
    keep[level] = 256 - part;
    redBlue[level] += 0x10000 * blue + red;
    green[level] += greens;
  }
  return { keep, redBlue, green };
}

/** The mean of two rows of a colour table, times a part of 256. */
function between(colours, row, other, part) {
  return [0, 1, 2].map((i) => Math.round(((colours[3 * row + i] + colours[3 * other + i]) * part) / 2));
}

/** Lay a map's levels over RGBA pixels (int32, little-endian) into `out`. */
function layOver(image, levels, { keep, redBlue, green }, out) {
  for (let i = 0; i < out.length; i++) {
    const level = levels[i];
    const pixel = image[i];
    const part = keep[level];
    const rb = (Math.imul(pixel & 0xff00ff, part) + redBlue[level]) >>> 8;
    const g = Math.imul((pixel >>> 8) & 0xff, part) + green[level];
    out[i] = (rb & 0xff00ff) | (g & 0xff00) | 0xff000000;
  }
}

/** A PNG's RGBA pixels, an int32 each: unsigned ones would be drawn more slowly. */
async function readPixels(blob) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(blob, options);
  const { width, height } = bitmap;
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Int32Array(context.getImageData(0, 0, width, height).data.buffer);
}

const previews = new WeakMap(); // file -> promise of its picture, until it is explained

/** A copy of a file's own picture, decoded once for all viewers of it; null where it has none. */
async function previewOf(file) {
  if (!previews.has(file)) previews.set(file, pictureOf(file));
  const picture = await previews.get(file);
  if (!picture) return null;
  const { width, height } = picture;
  const canvas = make("canvas", { class: "preview", width, height, "aria-hidden": "true" });
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return canvas;
}

/**
 * A file's picture, upright and not too large, on a canvas; null where the browser cannot
 * decode it, as a TIFF.
 */
async function pictureOf(file) {
  try {
    // Where it may be large it is made small away from the page's own thread.
    const options = file.size > LARGE_FILE ? { resizeWidth: PREVIEW_WIDTH, resizeQuality: "medium" } : {};
    const bitmap = await createImageBitmap(file, options);
    const scale = Math.min(1, MOST_SIDE / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
    const canvas = make("canvas", { width, height });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    return canvas;
  } catch {
    return null;
  }
}

/** Marching squares: SVG paths of where a map crosses each of LEVELS, in image pixels. */
function contourPaths({ values, width, height }) {
  const step = Math.max(1, Math.max(width, height) / CONTOUR_SIDE);
  const columns = Math.max(2, Math.round(width / step));
  const rows = Math.max(2, Math.round(height / step));
  const [dx, dy] = [(width - 1) / (columns - 1), (height - 1) / (rows - 1)];
  const samples = new Float32Array(columns * rows);
  for (let r = 0; r < rows; r++) {
    const line = Math.round(r * dy) * width;
    for (let c = 0; c < columns; c++) {
      samples[r * columns + c] = values[line + Math.round(c * dx)];
    }
  }
  return LEVELS.map((level) => contourPath(samples, columns, rows, dx, dy, level));
}

function contourPath(samples, columns, rows, dx, dy, level) {
  const parts = [];
  const point = (x, y) => `${(x * dx + 0.5).toFixed(2)} ${(y * dy + 0.5).toFixed(2)}`;
  for (let r = 0; r < rows - 1; r++) {
    for (let c = 0; c < columns - 1; c++) {
      const at = r * columns + c;
      const a = samples[at] - level; // a b
      const b = samples[at + 1] - level; // d e
      const d = samples[at + columns] - level;
      const e = samples[at + columns + 1] - level;
      const [inA, inB, inD, inE] = [a >= 0, b >= 0, d >= 0, e >= 0];
      if (inA === inB && inA === inD && inA === inE) continue;
      const ends = [];
      if (inA !== inB) ends.push(point(c + a / (a - b), r));
      if (inB !== inE) ends.push(point(c + 1, r + b / (b - e)));
      if (inD !== inE) ends.push(point(c + d / (d - e), r + 1));
      if (inA !== inD) ends.push(point(c, r + a / (a - d)));
      // In a saddle the middle decides which crossings belong together.
      if (ends.length === 4 && a + b + d + e >= 0 !== inA) ends.unshift(ends.pop());
      for (let i = 0; i < ends.length; i += 2) parts.push(`M${ends[i]}L${ends[i + 1]}`);
    }
  }
  return parts.join("");
}

/** An SVG path of the borders between the cells of a native grid. */
function gridPath([rows, columns], width, height) {
  let d = "";
  for (let i = 0; i <= columns; i++) d += `M${(i * width) / columns} 0V${height}`;
  for (let i = 0; i <= rows; i++) d += `M0 ${(i * height) / rows}H${width}`;
  return d;
}

// ---- asking the service

/** A refusal by the service, or (code "offline") no answer at all. */
class Problem extends Error {
  constructor(status, { code = "unknown", title: name, detail, errors = [] }, retryAfter = 0) {
    const heading = name ?? `The service answered ${status}`;
    super(detail || heading);
    Object.assign(this, { status, code, title: heading, detail: this.message, errors, retryAfter });
  }

  /** Whether the service is at fault or out of reach, and not what it was asked for. */
  get isTheServices() {
    return this.passes || this.status >= 500;
  }

  /** Whether the same request may go well a little later. */
  get passes() {
    return this.code === "offline" || PASSING.includes(this.status);
  }
}

/** Requests to one service, with the same headers. */
class Service {
  constructor(base, headers) {
    this.base = new URL(base, document.baseURI).href.replace(/\/$/, "");
    this.headers = headers;
  }

  /** The answer to a request for a path below the service. Raises Problem. */
  async ask(path, init = {}) {
    let response;
    try {
      const headers = { ...this.headers, ...init.headers };
      response = await fetch(this.base + path, { ...init, headers });
    } catch (error) {
      throw new Problem(0, { ...OFFLINE, detail: `No answer from ${this.base}: ${error.message}` });
    }
    if (response.ok) return response;
    const retryAfter = Number(response.headers.get("Retry-After")) || 0; // s
    throw new Problem(response.status, await response.json().catch(() => ({})), retryAfter);
  }

  /** POST /v1/explanations for a file, or (null) for the image that the fields name. */
  explain(fields, file, accept) {
    const init = { method: "POST", headers: { Accept: accept } };
    if (file) {
      init.body = new FormData();
      init.body.append("image", file, file.name ?? "image");
      for (const [name, value] of Object.entries(fields)) init.body.append(name, String(value));
    } else {
      init.headers["Content-Type"] = "application/json";
      init.body = JSON.stringify(fields);
    }
    return this.ask("/v1/explanations", init);
  }

  /** The pixels beneath an explanation's overlays; kind: "original" or "enhanced". */
  async pixels(digest, kind) {
    const path = `/v1/explanations/${digest}/image?enhanced=${kind === "enhanced"}`;
    const response = await this.ask(path, { headers: { Accept: "image/png" } });
    return readPixels(await response.blob());
  }
}

/** One layer's map; all but its cells is made when first asked for, as when it is shown. */
class LayerMap {
  #cells;
  #values = null;
  #levels = null;
  #contours = null;

  constructor(grid, cells, width, height) {
    Object.assign(this, { grid, width, height });
    this.#cells = cells;
  }

  /** Float32Array of height x width, 0..1. */
  get values() {
    this.#values ??= fullSizeMap(this.#cells, this.grid, this.height, this.width);
    return this.#values;
  }

  /** What layOver() draws. */
  get levels() {
    this.#levels ??= levelsOf(this.values);
    return this.#levels;
  }

  /** Bytes held so far. */
  get bytes() {
    return this.#cells.byteLength + (this.#values?.byteLength ?? 0) + (this.#levels?.byteLength ?? 0);
  }

  /** SVG paths, one of each of LEVELS. */
  get contours() {
    this.#contours ??= contourPaths(this);
    return this.#contours;
  }
}

/** What the service said of one image: facts, maps, and the pixels beneath as they come. */
class Explanation {
  images = new Map();
  #coming = new Map(); // kind -> promise of its pixels

  constructor(facts) {
    const [height, width] = facts.picture_size;
    const layers = facts.layers.map(({ name, grid, values }) => {
      return [name, new LayerMap(grid, cellsOf(values), width, height)];
    });
    Object.assign(this, { facts, maps: { width, height, layers: Object.fromEntries(layers) } });
  }

  get bytes() {
    const { width, height, layers } = this.maps;
    const made = Object.values(layers).reduce((sum, one) => sum + one.bytes, 0);
    return made + 4 * width * height * this.images.size;
  }

  /** Fetch the pixels of a kind, once for all who want them. */
  async fetchImage(service, kind) {
    if (this.images.has(kind)) return;
    if (!this.#coming.has(kind)) this.#coming.set(kind, service.pixels(this.facts.digest, kind));
    try {
      this.images.set(kind, await this.#coming.get(kind));
    } finally {
      this.#coming.delete(kind);
    }
  }
}

const kept = new Map(); // request -> {promise, explanation} of it, the last used last
const fileNumbers = new WeakMap();
let files = 0;

/** A number for each file, the same each time; null for none. */
function numberOf(file) {
  if (file && !fileNumbers.has(file)) fileNumbers.set(file, (files += 1));
  return file ? fileNumbers.get(file) : null;
}

const keyOf = (service, fields, file) =>
  JSON.stringify([service.base, service.headers, fields, numberOf(file)]);

/** Ask once for what several viewers of a page show. */
async function explanationOf(service, fields, file, kind, fresh) {
  const key = keyOf(service, fields, file);
  const known = fresh ? null : kept.get(key);
  const entry = known ?? { promise: fetchExplanation(service, fields, file, kind) };
  kept.delete(key);
  kept.set(key, entry);
  try {
    entry.explanation = await entry.promise;
    makeRoom();
    return entry.explanation;
  } catch (error) {
    if (kept.get(key) === entry) kept.delete(key);
    throw error;
  }
}

function makeRoom() {
  const bytesOf = ({ explanation }) => explanation?.bytes ?? 0;
  let used = [...kept.values()].reduce((sum, one) => sum + bytesOf(one), 0);
  for (const [key, one] of kept) {
    if (used <= KEPT_BYTES || kept.size === 1) return;
    kept.delete(key);
    used -= bytesOf(one);
  }
}

async function fetchExplanation(service, fields, file, kind, again = true) {
  const answer = await service.explain(fields, file, "application/json");
  const facts = await answer.json();
  try {
    const explanation = new Explanation(facts);
    await explanation.fetchImage(service, facts.options.clahe ? kind : "original");
    return explanation;
  } catch (error) {
    // The service may have put it out of memory between the two requests.
    if (again && isGone(error)) return fetchExplanation(service, fields, file, kind, false);
    throw error;
  }
}

const isGone = (error) => [404, 410].includes(error.status);

// ---- the element

/**
 * Attributes. What is explained: `service` (base URL; default: where this file came from),
 * `experiment`, `image`, `model`, `method`, `target`, `clahe` ("off"). How it is shown: `layer`,
 * `opacity` and `threshold` (0..1), `colormap`, `mode` (colour|contour), `base`
 * (original|enhanced), `overlay` ("off"), `grid` ("on"), `zoom` ("scale,x,y"). `controls` ("none"
 * hides all but picture, caption and colour bar), `alt`. Children stand beneath the colour bar.
 *
 * Events: cam-load {facts}, cam-error {problem, kept}, and by the user's doing cam-change {state},
 * cam-transform {transform}, cam-cursor {cursor}, cam-navigate {step}.
 *
 * What is on show stays when the service fails on a change of it, with a notice and another try;
 * cam-error tells of it once, with `kept` true. A page that finds the service answering again says
 * so to all viewers by the window's event gradcam-away, with false as its detail.
 */
export class CamViewer extends HTMLElement {
  static observedAttributes = ["service", ...COMPUTED, ...Object.keys(VIEW), "controls", "alt"];
  static #latest = null; // the viewer used last, which keys go to

  #headers = {};
  #file = null;
  #explanation = null;
  #service = null; // of the explanation
  #subject = ""; // the image of the explanation
  #preview = null; // {file, canvas} of a file that is not explained yet
  #asked = {}; // fields of the request for the explanation
  #failed = null; // {problem, keeps, ofImage, again}: why what is wanted is not on show
  #missing = null; // kind of the image beneath that was asked for
  #tries = 0; // failed ones in a row
  #retry = 0; // timer of the next one
  #linkTo = undefined;
  #run = 0;
  #loadQueued = false;
  #drawQueued = false;
  #table = { key: "", values: null };
  #transform = { ...WHOLE };
  #cursor = null;
  #pointers = new Map();
  #parts = {};
  #inputs = {};
  #out = null; // ImageData of the canvas
  #said = ""; // what the words were made from
  #lined = ""; // and the lines
  #barred = ""; // and the colour bar
  #onKey = (event) => this.#key(event);
  #onOnline = () => this.#failed?.problem.passes && this.#failed.again();
  #onAway = ({ detail: isAway }) => !isAway && this.#onOnline();

  constructor() {
    super();
    this.attachShadow({ mode: "open", delegatesFocus: true }).adoptedStyleSheets = [sheet];
    this.#build();
    this.#show("empty");
    for (const name of ["headers", "file", "state", "transform", "cursor", "linkTo"]) {
      this.#upgrade(name);
    }
  }

  connectedCallback() {
    document.addEventListener("keydown", this.#onKey);
    window.addEventListener("online", this.#onOnline);
    window.addEventListener("gradcam-away", this.#onAway);
    this.#reload();
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.#onKey);
    window.removeEventListener("online", this.#onOnline);
    window.removeEventListener("gradcam-away", this.#onAway);
    clearTimeout(this.#retry);
  }

  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    const isModule = name === "layer" && now && !LAYERS.includes(now);
    if (name === "service" || COMPUTED.includes(name) || isModule) this.#reload();
    if (name === "zoom") this.#readZoom();
    if (name === "controls") this.#showControls();
    this.#redraw();
  }

  /** Headers sent with each request, such as X-API-Key. */
  get headers() {
    return this.#headers;
  }

  set headers(value) {
    const before = JSON.stringify(this.#headers);
    this.#headers = { ...value };
    if (this.#service) this.#service.headers = this.#headers; // for what is fetched later
    if (!this.#explanation && JSON.stringify(this.#headers) !== before) this.#reload();
  }

  /** An image file to explain, instead of one of the service. */
  get file() {
    return this.#file;
  }

  set file(value) {
    if ((value ?? null) === this.#file) return;
    this.#file = value ?? null;
    this.#reload();
  }

  /**
   * A function that returns the address which Link copies, or a promise of it; it is given what
   * link() returns. null: no Link is offered. undefined: the view on the service's own page.
   */
  get linkTo() {
    return this.#linkTo;
  }

  set linkTo(value) {
    this.#linkTo = value;
    this.#allowDownloads();
  }

  /** What the service said, as JSON has it; null before. */
  get facts() {
    return this.#explanation?.facts ?? null;
  }

  /** {width, height, layers: {name: {grid, values, width, height}}}; null before. */
  get maps() {
    return this.#explanation?.maps ?? null;
  }

  /**
   * What differs from the default, by attribute. Setting it puts other view options back; what
   * needs computing (model, method ...) changes only where it is named.
   */
  get state() {
    const names = ["method", "target", "clahe", ...Object.keys(VIEW)];
    const entries = names.map((name) => [name, this.getAttribute(name)]);
    return Object.fromEntries(entries.filter(([name, value]) => value && value !== VIEW[name]));
  }

  set state(value) {
    for (const name of Object.keys(VIEW)) this.#set(name, value[name] ?? null);
    for (const name of COMPUTED) if (name in value) this.#set(name, value[name]);
  }

  /** {scale: 1..16, x, y}: the image's point in the middle of the view, 0..1. */
  get transform() {
    return { ...this.#transform };
  }

  set transform(value) {
    this.#move(value, false);
  }

  /** {x, y} in 0..1 of the image, where a crosshair is drawn; null for none. */
  get cursor() {
    return this.#cursor;
  }

  set cursor(value) {
    this.#cursor = value ?? null;
    this.#drawCross();
  }

  /** What reopens this view, for a query; an uploaded file cannot be named in it. */
  link() {
    const own = COMPUTED.filter((name) => this.getAttribute(name));
    const found = new URLSearchParams(own.map((name) => [name, this.getAttribute(name)]));
    for (const [name, value] of Object.entries(this.state)) found.set(name, value);
    return found;
  }

  /**
   * Fetch and draw; problems are shown and sent as cam-error. fresh: also what is at hand. quiet:
   * what is on show stays as it is until it is done.
   */
  async load({ fresh = false, quiet = false } = {}) {
    const run = (this.#run += 1);
    this.#loadQueued = false;
    clearTimeout(this.#retry);
    if (!quiet) this.#tries = 0;
    if (!this.#file && !this.getAttribute("image")) {
      this.#explanation = this.#failed = this.#preview = null;
      this.#show("empty");
      return;
    }
    if (!quiet) {
      this.#failed = null;
      this.#show("loading");
    }
    const headers = JSON.stringify(this.#headers);
    const service = new Service(this.getAttribute("service") || OWN_SERVICE, this.#headers);
    const fields = this.#fields("native");
    const atHand = kept.get(keyOf(service, fields, this.#file))?.explanation;
    if (!quiet && !atHand) this.#showPreview(run);
    try {
      const found = await explanationOf(service, fields, this.#file, this.#view("base"), fresh);
      if (run === this.#run) this.#take(service, found, fields);
    } catch (error) {
      if (run !== this.#run) return;
      if (error.status === 401 && JSON.stringify(this.#headers) !== headers) return this.load();
      this.#fail(error, () => this.load({ quiet: true }));
    }
  }

  /** Draw at once; else changes are drawn with the next frame. */
  draw() {
    this.#drawQueued = false;
    if (!this.#explanation) return;
    this.#drawPixels();
    this.#drawLines();
    this.#describe();
  }

  /**
   * PNG as seen: the part in view. The whole image in colour has its own size; with lines or
   * zoomed it is drawn larger where it is small.
   *
   * caption: as large as it is on the screen, at least its own size and at most 2048 px, with
   * colour bar and caption, and with text chunks that say how it was made. null before anything is
   * shown.
   */
  async toBlob({ caption = false } = {}) {
    if (!this.#explanation) return null;
    this.draw();
    const { canvas, svg, stage } = this.#parts;
    const longer = Math.max(canvas.width, canvas.height);
    if (!caption) {
      const plain = this.#transform.scale === 1 && svg.querySelectorAll("path").length === 0;
      return pngOf(this.#picture(plain ? 1 : clamp(Math.ceil(1024 / longer), 1, 8)));
    }
    const shown = (stage.clientWidth * devicePixelRatio) / canvas.width;
    const picture = this.#picture(Math.max(1, Math.min(shown, MOST_SIDE / longer)));
    const colours = coloursOf(this.#view("colormap"));
    const figure = { colours, threshold: this.#number("threshold"), lines: this.#figureLines() };
    return withText(await pngOf(figureOf(picture, figure)), this.#chunks());
  }

  /** The part in view on a canvas, `factor` pixels for each of the image's. */
  #picture(factor) {
    const { canvas, svg, stage, plane } = this.#parts;
    const { width, height } = canvas;
    const { scale, x, y } = this.#transform;
    const [wide, high] = [width, height].map((side) => Math.round(side * factor));
    const copy = make("canvas", { width: wide, height: high });
    const context = copy.getContext("2d");
    const zoom = scale * factor;
    context.translate(copy.width / 2 - x * width * zoom, copy.height / 2 - y * height * zoom);
    context.scale(zoom, zoom);
    context.imageSmoothingQuality = "high";
    context.imageSmoothingEnabled = !plane.hasAttribute("data-coarse");
    context.drawImage(canvas, 0, 0);
    context.lineCap = "round";
    const pixel = copy.width / (stage.clientWidth || copy.width) / zoom;
    for (const path of svg.querySelectorAll("path")) {
      const style = getComputedStyle(path);
      context.strokeStyle = style.stroke;
      context.globalAlpha = Number(style.strokeOpacity);
      context.lineWidth = parseFloat(style.strokeWidth) * pixel;
      context.stroke(new Path2D(path.getAttribute("d")));
    }
    return copy;
  }

  // ---- loading

  /** A property that was set before the element was defined. */
  #upgrade(name) {
    if (!Object.hasOwn(this, name)) return;
    const value = this[name];
    delete this[name];
    this[name] = value;
  }

  #reload() {
    if (this.#loadQueued || !this.isConnected) return;
    this.#loadQueued = true;
    queueMicrotask(() => this.#loadQueued && this.load());
  }

  /** The fields of a request. */
  #fields(view) {
    const fields = { view };
    const names = this.#file ? [] : ["experiment", "image"];
    for (const name of [...names, "model", "method", "target"]) {
      if (this.getAttribute(name)) fields[name] = this.getAttribute(name);
    }
    const layer = this.getAttribute("layer");
    if (layer && !LAYERS.includes(layer)) fields.layer = layer;
    if (this.getAttribute("clahe") === "off") fields.clahe = false;
    return fields;
  }

  /** Which image is wanted; the same for all methods, models and classes. */
  #wantedSubject() {
    const names = ["service", "experiment", "image"].map((name) => this.getAttribute(name));
    return JSON.stringify(this.#file ? [numberOf(this.#file)] : names);
  }

  /** A file's own picture, until it is explained. */
  async #showPreview(run) {
    const file = this.#file;
    if (!file || (this.#explanation && this.#subject === this.#wantedSubject())) return;
    if (this.#preview?.file !== file) {
      this.#preview = null;
      const canvas = await previewOf(file);
      if (run !== this.#run || this.#parts.stage.dataset.state !== "loading") return;
      this.#preview = canvas && { file, canvas };
    }
    if (!this.#preview) return;
    const { canvas } = this.#preview;
    this.#parts.frame.style.setProperty("--_ratio", canvas.width / canvas.height);
    this.#show("loading");
  }

  #take(service, explanation, fields) {
    const { width, height } = explanation.maps;
    const { canvas, context, svg, frame } = this.#parts;
    this.#explanation = explanation;
    this.#service = service;
    this.#asked = fields;
    this.#subject = this.#wantedSubject();
    this.#failed = this.#preview = this.#missing = null;
    this.#tries = 0;
    if (this.#file) previews.delete(this.#file);
    this.#said = this.#lined = "";
    Object.assign(canvas, { width, height });
    this.#out = context.createImageData(width, height);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    frame.style.setProperty("--_ratio", width / height);
    this.#show("ready");
    this.#fillControls();
    this.#place();
    this.draw();
    this.#say(this.#words());
    this.#emit("cam-load", { facts: this.facts });
    if (this.#hasControls && this.facts.options.clahe) this.#fetchOther();
  }

  /** The image that is not shown, so that a change to it needs no request. */
  async #fetchOther() {
    const explanation = this.#explanation;
    const other = explanation.images.has("original") ? "enhanced" : "original";
    await explanation.fetchImage(this.#service, other).catch(() => {}); // asked for again if shown
    if (explanation === this.#explanation) this.#redraw();
  }

  /** The image that is to be shown, where it is not at hand; asked for once. */
  async #fetchShown(kind) {
    const explanation = this.#explanation;
    this.#missing = kind;
    try {
      await explanation.fetchImage(this.#service, kind);
      if (explanation !== this.#explanation) return;
      this.#foundImage();
      this.#redraw();
    } catch (error) {
      if (explanation !== this.#explanation || this.#missing !== kind) return;
      if (isGone(error)) this.load({ fresh: true });
      else this.#fail(error, () => this.#fetchShown(kind), true);
    }
  }

  /** The wanted image beneath is there, or another one is wanted that is. */
  #foundImage() {
    this.#missing = null;
    if (!this.#failed?.ofImage) return;
    clearTimeout(this.#retry);
    this.#failed = null;
    this.#tries = 0;
    this.#show("ready");
  }

  /** Say so, and keep what is on show if it is of the same image and nothing is wrong with that. */
  #fail(error, again, ofImage = false) {
    const unknown = { title: "It could not be drawn", detail: error.message };
    const problem = error instanceof Problem ? error : new Problem(0, unknown);
    const { status, code, title: name, detail, errors } = problem;
    const same = this.#explanation && this.#subject === this.#wantedSubject();
    const known = this.#failed?.problem.code === code;
    const keeps = Boolean(same && problem.isTheServices);
    this.#failed = { problem, keeps, ofImage, again };
    if (!keeps) this.#explanation = null;
    if (!known) this.#show(keeps ? "ready" : "error");
    if (keeps) this.#showValues();
    if (!known) {
      const told = { status, code, title: name, detail, errors };
      this.#emit("cam-error", { problem: told, kept: keeps });
    }
    if (problem.passes) this.#tryLater(problem.retryAfter);
  }

  /** Try again by itself, after a pause that grows. */
  #tryLater(retryAfter) {
    clearTimeout(this.#retry);
    if (!this.isConnected) return;
    const pause = Math.min(LONGEST_PAUSE, Math.max(retryAfter, FIRST_PAUSE * 2 ** this.#tries));
    this.#tries += 1;
    this.#retry = setTimeout(() => this.#failed?.again(), 1000 * pause);
  }

  /** Try again by the user's wish. */
  #tryAgain() {
    this.#tries = 0;
    if (this.#failed?.ofImage) this.#failed.again();
    else this.load();
  }

  // ---- drawing

  /** The layer shown: its name, map and facts. */
  #layer() {
    const { facts, maps } = this.#explanation;
    const wanted = this.getAttribute("layer");
    const name = Object.hasOwn(maps.layers, wanted) ? wanted : facts.layer;
    return { name, map: maps.layers[name], facts: facts.layers.find((one) => one.name === name) };
  }

  #view(name) {
    return this.getAttribute(name) || VIEW[name];
  }

  #number(name) {
    const value = Number(this.#view(name));
    return clamp(Number.isFinite(value) ? value : Number(VIEW[name]), 0, 1);
  }

  get #isContour() {
    return this.#view("mode") === "contour";
  }

  get #isShown() {
    return this.#view("overlay") !== "off";
  }

  #blendTable() {
    const wanted = {
      colormap: this.#view("colormap"),
      opacity: this.#number("opacity"),
      threshold: this.#number("threshold"),
      blend: this.facts.options.blend,
    };
    const key = JSON.stringify(wanted);
    if (this.#table.key !== key) this.#table = { key, values: blendTable(wanted) };
    return this.#table.values;
  }

  /** The image beneath; until the wanted one has come, the one that is there. */
  #image() {
    const { images, facts } = this.#explanation;
    const kind = facts.options.clahe ? this.#view("base") : "original";
    if (images.has(kind)) {
      if (this.#missing) this.#foundImage();
    } else if (this.#missing !== kind) this.#fetchShown(kind);
    return images.get(kind) ?? images.values().next().value;
  }

  #drawPixels() {
    const { map, facts } = this.#layer();
    const out = new Int32Array(this.#out.data.buffer);
    const image = this.#image();
    const coloured = this.#isShown && !this.#isContour && !facts.empty;
    if (coloured) layOver(image, map.levels, this.#blendTable(), out);
    else out.set(image);
    this.#parts.context.putImageData(this.#out, 0, 0);
  }

  #drawLines() {
    const { width, height } = this.maps;
    const { map, facts } = this.#layer();
    const { contours, grid } = this.#parts;
    const drawn = this.#isShown && this.#isContour && !facts.empty;
    const looks = drawn && ["colormap", "threshold"].map((name) => this.#view(name));
    const lined = this.#view("grid") === "on";
    const wanted = JSON.stringify([facts, width, height, looks, lined]);
    if (wanted === this.#lined) return;
    this.#lined = wanted;
    contours.replaceChildren(...(drawn ? this.#contours(map) : []));
    const d = lined ? gridPath(facts.grid, width, height) : null;
    grid.replaceChildren(...(d ? [makePath("grid-halo", d), makePath("grid", d)] : []));
    this.#drawCross();
  }

  /** Lines from the threshold on, each in the colour of its value, on a halo that it stands out from. */
  #contours(map) {
    const colours = coloursOf(this.#view("colormap"));
    const least = this.#number("threshold");
    return map.contours.flatMap((d, i) => {
      if (!d || LEVELS[i] < least) return [];
      const row = 3 * Math.round(255 * LEVELS[i]);
      const [red, green, blue] = colours.subarray(row, row + 3);
      const dark = 0.3 * red + 0.59 * green + 0.11 * blue < 128;
      const halo = makePath(dark ? "halo light" : "halo", d);
      return [halo, makePath("contour", d, `rgb(${red} ${green} ${blue})`)];
    });
  }

  #drawCross() {
    const { cross } = this.#parts;
    if (!this.#cursor || !this.maps) return cross.replaceChildren();
    const { width, height } = this.maps;
    const d = `M${this.#cursor.x * width} 0V${height}M0 ${this.#cursor.y * height}H${width}`;
    cross.replaceChildren(makePath("halo", d), makePath("cross", d));
  }

  /** Lay the plane into the stage, which has the image's shape. */
  #place() {
    const { stage, plane, whole } = this.#parts;
    const { scale, x, y } = this.#transform;
    plane.style.width = plane.style.height = `${100 * scale}%`;
    plane.style.left = `${100 * (0.5 - x * scale)}%`;
    plane.style.top = `${100 * (0.5 - y * scale)}%`;
    stage.toggleAttribute("data-zoomed", scale > 1);
    plane.toggleAttribute("data-coarse", scale * stage.clientWidth > 8 * (this.maps?.width ?? Infinity));
    whole.textContent = `${Math.round(100 * scale)} %`;
  }

  // ---- words

  /** Prediction and layer in a sentence. */
  #words() {
    const { prediction, target } = this.facts;
    const { name, facts } = this.#layer();
    const other = target.index === prediction.index ? "" : `, explained: ${target.name}`;
    const empty = facts.empty ? ": no positive evidence for this class in this layer" : "";
    const said = `Predicted ${prediction.name}, ${percent(prediction.probability)}${other}`;
    return `${said}. Layer ${name}${empty}`;
  }

  #describe() {
    this.#showValues();
    this.#drawBar();
    const names = ["layer", "alt"];
    const said = [this.facts.digest, ...names.map((name) => this.getAttribute(name))].join("\n");
    if (said === this.#said) return;
    this.#said = said;
    const { canvas, caption, empty } = this.#parts;
    const { name, facts } = this.#layer();
    const about = this.getAttribute("alt") ?? this.facts.image.name;
    canvas.setAttribute("aria-label", `${about}. ${this.#words()}`);
    caption.replaceChildren(...this.#captionLines(name, facts));
    empty.hidden = !facts.empty;
  }

  #captionLines(name, layer) {
    const { prediction, target, image, notices, unenhanced, clahe_changed_class: changed } = this.facts;
    const right = image.true_class === prediction.name;
    const truth = right ? "right" : `wrong, it is ${image.true_class}`;
    const lines = [
      make("p", { class: "prediction" }, make("b", {}, prediction.name),
        ` ${percent(prediction.probability)}`,
        image.true_class ? make("span", { class: right ? "soft" : "wrong" }, ` · ${truth}`) : ""),
    ];
    if (target.index !== prediction.index) {
      lines.push(make("p", {}, `Explained: ${target.name}, ${percent(target.probability)}`));
    }
    const cells = layer.grid.join(" × ");
    lines.push(make("p", { class: "soft" }, `${title(name)} · ${layer.method} · ${cells} cells`));
    if (changed) {
      const said = `${unenhanced.name}, ${percent(unenhanced.probability)}`;
      lines.push(make("p", { class: "soft" }, `Without CLAHE the model says ${said}.`));
    }
    for (const notice of notices ?? []) {
      lines.push(make("p", { class: "soft assumed" }, `\u26a0 ${notice}.`));
    }
    return lines;
  }

  #drawBar() {
    const barred = `${this.#view("colormap")} ${this.#number("threshold")}`;
    if (barred === this.#barred) return;
    this.#barred = barred;
    const context = this.#parts.bar.getContext("2d");
    const ramp = context.createImageData(256, 1);
    const colours = coloursOf(this.#view("colormap"));
    const least = 255 * this.#number("threshold");
    for (let i = 0; i < 256; i++) {
      ramp.data.set([...colours.subarray(3 * i, 3 * i + 3), i < least ? 0 : 255], 4 * i);
    }
    context.putImageData(ramp, 0, 0);
  }

  /** The map's value beneath the pointer. */
  #read(at) {
    const { here } = this.#parts;
    if (!at) return void (here.textContent = "");
    const { width, height, values } = this.#layer().map;
    const column = Math.min(width - 1, Math.floor(at.x * width));
    const value = values[Math.min(height - 1, Math.floor(at.y * height)) * width + column];
    here.textContent = `here ${Math.round(100 * value)} %`;
  }

  #say(text) {
    this.#parts.live.textContent = text;
  }

  // ---- the parts, built once

  #build() {
    const parts = this.#parts;
    parts.canvas = make("canvas", { role: "img", "aria-label": "No image yet" });
    parts.context = parts.canvas.getContext("2d", { willReadFrequently: true });
    parts.svg = document.createElementNS(SVG, "svg");
    parts.svg.setAttribute("aria-hidden", "true");
    for (const name of ["contours", "grid", "cross"]) {
      parts[name] = document.createElementNS(SVG, "g");
      parts.svg.append(parts[name]);
    }
    parts.plane = make("div", { class: "plane" }, parts.canvas, parts.svg);
    parts.message = make("div", { class: "message" });
    parts.zoom = this.#buildZoom();
    const about = { role: "group", "aria-label": "Image view; ? for its keys", tabindex: 0 };
    const inside = [parts.plane, parts.message, parts.zoom];
    parts.stage = make("div", { class: "stage", part: "stage", ...about }, ...inside);
    parts.caption = make("div", { class: "caption", part: "caption" });
    parts.empty = make("p", { class: "empty", hidden: true }, NO_EVIDENCE);
    parts.scale = this.#buildBar();
    parts.classes = make("ul", {
      class: "classes", part: "classes", role: "list", "aria-label": "Most probable classes",
    });
    parts.toolbar = this.#buildToolbar();
    parts.live = make("div", { class: "unseen", role: "status" });
    parts.help = this.#buildHelp();
    parts.slot = make("slot"); // what stands in the element: the page Look has its layers there
    parts.picture = make("div", { class: "picture" }, parts.stage, parts.scale, parts.slot);
    parts.about = make("div", { class: "caption" }, parts.caption, parts.empty);
    parts.side = make("div", { class: "side" }, parts.about, parts.classes, parts.toolbar);
    parts.frame = make("div", { class: "frame" }, parts.picture, parts.side);
    this.shadowRoot.append(parts.frame, parts.live, parts.help);
    this.#listen(parts.stage);
  }

  #button(text, onclick, label = null) {
    return make("button", { type: "button", onclick, "aria-label": label, title: label }, text);
  }

  #buildZoom() {
    this.#parts.whole = this.#button("100 %", () => this.#move(WHOLE), "Whole image");
    return make("div", { class: "zoom segments" },
      this.#button("−", () => this.#zoom(1 / 1.5), "Zoom out"), this.#parts.whole,
      this.#button("+", () => this.#zoom(1.5), "Zoom in"));
  }

  #buildBar() {
    this.#parts.bar = make("canvas", { width: 256, height: 1, "aria-hidden": "true" });
    this.#parts.here = make("span");
    const ticks = ["0", "25", "50", "75", "100 %"].map((one) => make("span", {}, one));
    return make("div", { class: "bar", part: "bar" }, this.#parts.bar,
      make("div", { class: "ticks" }, ...ticks),
      make("div", { class: "about-bar" },
        make("span", {}, "of the layer’s maximum"), this.#parts.here));
  }

  #buildToolbar() {
    const same = (names) => names.map((one) => [one, one]);
    const layers = LAYERS.map((one) => [one, title(one)]);
    const modes = [["colour", "Colour"], ["contour", "Contours"]];
    const bases = [["original", "Original"], ["enhanced", "CLAHE"]];
    const about = { class: "toolbar", part: "toolbar", role: "group", "aria-label": "View" };
    return make("div", { ...about, hidden: true },
      this.#segments("layer", "Layer", layers, "wide"),
      this.#slider("opacity", "Opacity"),
      this.#slider("threshold", "Hide values below"),
      this.#segments("mode", "Drawn as", modes),
      this.#segments("base", "Image beneath", bases),
      this.#menu("colormap", "Colours", same(Object.keys(TABLES))),
      this.#menu("method", "Method", [["", "default"], ...same(METHODS)]),
      this.#menu("target", "Class explained", [["", "predicted"]]),
      make("div", { class: "row" }, this.#tick("overlay", "Overlay"), this.#tick("grid", "Native grid")),
      this.#buildDownloads());
  }

  #segments(name, label, choices, extra = "") {
    const buttons = choices.map(([value, text]) => {
      const button = this.#button(text, () => this.#choose(name, value));
      button.value = value;
      return button;
    });
    this.#inputs[name] = buttons;
    const group = make("div", { class: "segments", role: "group", "aria-label": label }, ...buttons);
    return make("div", { class: `field ${extra}` }, make("span", {}, label), group);
  }

  #slider(name, label) {
    const oninput = () => this.#choose(name, input.value);
    const input = make("input", { type: "range", min: 0, max: 1, step: 0.01, oninput });
    const value = make("span");
    this.#inputs[name] = input;
    this.#parts[`${name}Value`] = value;
    return make("label", { class: "field" }, make("span", {}, label, value), input);
  }

  #menu(name, label, choices) {
    const options = choices.map(([value, text]) => make("option", { value }, text));
    const select = make("select", { onchange: () => this.#choose(name, select.value) }, ...options);
    this.#inputs[name] = select;
    return make("label", { class: "field", part: name }, make("span", {}, label), select);
  }

  #tick(name, label) {
    const onchange = () => this.#choose(name, input.checked ? "on" : "off");
    const input = make("input", { type: "checkbox", onchange });
    this.#inputs[name] = input;
    return make("label", { class: "check" }, input, label);
  }

  #buildDownloads() {
    const link = this.#button("Link", () => this.#copyLink(), LINK);
    const downloads = [
      this.#button("PNG", () => this.#savePng(), "Download the picture as seen, PNG"),
      this.#button("Panel", () => this.#savePanel(), "Download the panel of all layers, PNG"),
      this.#button("Array", () => this.#saveArray(), "Download the maps as an array, npy"),
    ];
    Object.assign(this.#parts, { link, downloads });
    const row = make("div", { class: "row", role: "group", "aria-label": "Downloads and help" },
      ...downloads, link,
      this.#button("?", () => this.#parts.help.showModal(), "Keys"));
    return make("div", { class: "field wide" }, make("span", {}, "Download"), row);
  }

  #buildHelp() {
    const rows = KEYS.flatMap(([key, text]) => [make("dt", {}, key), make("dd", {}, text)]);
    const close = this.#button("Close", () => dialog.close());
    const dialog = make("dialog", { "aria-label": "Keys" },
      make("h2", {}, "Keys"), make("dl", {}, ...rows), close);
    return dialog;
  }

  // ---- what the parts show

  get #hasControls() {
    return this.getAttribute("controls") !== "none";
  }

  #showControls() {
    const { frame, toolbar, zoom, classes } = this.#parts;
    const had = this.facts !== null || !toolbar.hidden;
    frame.toggleAttribute("data-controls", this.#hasControls && had);
    toolbar.hidden = !this.#hasControls || !had;
    zoom.hidden = classes.hidden = !this.#hasControls || !this.#hasPicture;
    this.#allowDownloads();
  }

  /** Whether an explanation is on show, and not a file's own picture or words. */
  get #hasPicture() {
    const early = this.#parts.stage.dataset.state === "loading" && this.#preview;
    return this.facts !== null && !early;
  }

  /** Downloads and the link, where there is something that they are good for. */
  #allowDownloads() {
    const { stage, downloads, link } = this.#parts;
    const ready = stage.dataset.state === "ready";
    for (const button of downloads) button.disabled = !ready;
    link.hidden = this.#linkTo === null;
    link.disabled = !ready || Boolean(this.#file);
    link.title = this.#file ? "An uploaded image has no address" : LINK;
  }

  /** One of the states empty, loading, ready and error. */
  #show(state) {
    const { stage, plane, scale, about, canvas } = this.#parts;
    stage.dataset.state = state;
    stage.setAttribute("aria-busy", String(state === "loading"));
    const early = state === "loading" && this.#preview;
    stage.querySelector(".preview")?.remove();
    if (early) plane.before(this.#preview.canvas);
    for (const part of [plane, scale, about]) part.hidden = !this.#hasPicture;
    this.#showControls();
    this.#showMessage();
    const heading = this.#parts.message.querySelector("strong")?.textContent;
    if (!this.#hasPicture) canvas.setAttribute("aria-label", heading);
  }

  /** What is to be said of the state, over the picture where there is one. */
  #showMessage() {
    const { stage, message } = this.#parts;
    const { state } = stage.dataset;
    const problem = this.#failed?.problem;
    message.hidden = state === "ready" && !problem;
    if (message.hidden) return;
    const over = this.#hasPicture || this.#preview !== null;
    const [kind, heading, words] = {
      empty: ["", "No image yet", "Choose one to see where the model looked."],
      loading: [over ? "over" : "", "Explaining …", over ? "" : "The model looks at the image."],
      ready: ["bad failed", problem?.title, this.#stillShown()],
      error: ["bad", problem?.title, problem?.detail],
    }[state];
    message.className = `message ${kind}`;
    message.replaceChildren(
      ...(state === "loading" ? [make("div", { class: "spinner", "aria-hidden": "true" })] : []),
      make("strong", {}, heading),
      ...(words ? [make("p", {}, words)] : []),
      ...(problem ? [this.#button("Try again", () => this.#tryAgain())] : []),
    );
    if (state !== "empty") this.#say(`${heading} ${words}`);
  }

  /** What is on show while what is wanted is not to be had. */
  #stillShown() {
    if (!this.#failed || !this.facts) return "";
    const { options, layers, target, model } = this.facts;
    const kind = this.#explanation.images.has("original") ? "before CLAHE" : "after CLAHE";
    const method = options.method ?? layers[0].method;
    const still = this.#failed.ofImage ? `the image ${kind}` : `${method}, ${target.name}, ${model.name}`;
    return `Still shown: ${still}.${this.#failed.problem.passes ? " It is tried again by itself." : ""}`;
  }

  /** Say for a while, over the picture, what did not work. */
  #notice(text) {
    const { message } = this.#parts;
    message.className = "message over bad";
    message.replaceChildren(make("strong", {}, text));
    message.hidden = false;
    this.#say(text);
    setTimeout(() => message.firstChild?.textContent === text && this.#showMessage(), 6000);
  }

  /** What the answer offers: layers with evidence, classes, CLAHE. */
  #fillControls() {
    const { facts } = this;
    for (const button of this.#inputs.layer) {
      const layer = facts.layers.find((one) => one.name === button.value);
      button.disabled = !layer;
      button.toggleAttribute("data-empty", Boolean(layer?.empty));
      button.title = layer ? `${layer.label}${layer.empty ? ", no positive evidence" : ""}` : "";
    }
    this.#inputs.base[1].disabled = !facts.options.clahe;
    this.#fillTargets(facts.top_classes.map((one) => one.name));
    if (this.#hasControls && facts.top_classes.length >= MOST_TOP) this.#fetchTargets();
    this.#parts.classes.replaceChildren(...facts.top_classes.map((one) => {
      const share = make("i");
      share.style.width = `${100 * one.probability}%`;
      return make("li", {}, make("span", {}, one.name),
        make("span", { class: "share", "aria-hidden": "true" }, share),
        make("span", {}, percent(one.probability)));
    }));
  }

  #fillTargets(names) {
    const { target } = this.#inputs;
    const wanted = this.getAttribute("target");
    const all = new Set(wanted && !/^\d+$/.test(wanted) ? [...names, wanted] : names);
    const options = [...all].map((name) => make("option", { value: name }, name));
    target.replaceChildren(target.options[0], ...options);
    this.#showValues();
  }

  /** All classes of the model; a view token is not good for them. */
  async #fetchTargets() {
    const explanation = this.#explanation;
    if (/^bearer gvt_/i.test(this.#service.headers.Authorization ?? "")) return;
    try {
      const id = explanation.facts.model.id.split("/").map(encodeURIComponent).join("/");
      const answer = await this.#service.ask(`/v1/models/${id}`);
      const { classes } = await answer.json();
      if (explanation === this.#explanation && classes) this.#fillTargets(classes);
    } catch {
      // The most probable classes stay on offer.
    }
  }

  /** Bring all inputs to what the attributes say. */
  #showValues() {
    const { name: layer } = this.#explanation ? this.#layer() : { name: this.#view("layer") };
    const { target } = this.#explanation ? this.facts : {};
    for (const [name, input] of Object.entries(this.#inputs)) {
      let value = name === "layer" ? layer : this.#shownValue(name);
      if (name === "target" && value) value = target?.name ?? value;
      if (Array.isArray(input)) {
        for (const one of input) one.setAttribute("aria-pressed", String(one.value === value));
      } else if (input.type === "checkbox") input.checked = value !== "off";
      else input.value = value;
    }
    for (const name of ["opacity", "threshold"]) {
      this.#parts[`${name}Value`].textContent = `${Math.round(100 * this.#number(name))} %`;
    }
    this.#inputs.opacity.disabled = this.#isContour;
  }

  /** An attribute; where what it wants could not be had, what is on show instead. */
  #shownValue(name) {
    if (this.#failed?.keeps) {
      const { ofImage } = this.#failed;
      if (ofImage && name === "base") return this.#missing === "enhanced" ? "original" : "enhanced";
      if (!ofImage && COMPUTED.includes(name)) return this.#asked[name] ?? "";
    }
    return this.#view(name) ?? "";
  }

  // ---- changing

  #redraw() {
    if (this.#drawQueued) return;
    this.#drawQueued = true;
    requestAnimationFrame(() => this.#drawQueued && this.draw());
  }

  #set(name, value) {
    if (value === null || value === "" || value === VIEW[name]) this.removeAttribute(name);
    else this.setAttribute(name, value);
  }

  /** A change by the user. */
  #choose(name, value) {
    const again = this.#failed?.keeps && (this.getAttribute(name) ?? "") === value;
    this.#set(name, value);
    if (again) this.#tryAgain();
    this.#emit("cam-change", { state: this.state });
    if (name === "layer" && this.#explanation) this.#say(this.#words());
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  #readZoom() {
    const [scale, x, y] = this.#view("zoom").split(",").map(Number);
    const isZoom = [scale, x, y].every(Number.isFinite);
    this.#transform = isZoom && scale > 1 ? within({ scale, x, y }) : { ...WHOLE };
    this.#place();
  }

  #move(to, tell = true) {
    const { scale, x, y } = within(to);
    this.#set("zoom", scale === 1 ? null : [scale, x, y].join(","));
    if (!tell) return;
    this.#emit("cam-transform", { transform: this.transform });
    this.#emit("cam-change", { state: this.state });
  }

  /** Zoom by a factor; a point of the image stays where it is. */
  #zoom(factor, at = this.#transform) {
    const { scale, x, y } = this.#transform;
    const now = clamp(scale * factor, 1, MOST_ZOOM);
    const shrunk = scale / now;
    this.#move({ scale: now, x: at.x + (x - at.x) * shrunk, y: at.y + (y - at.y) * shrunk });
  }

  // ---- pointer and keys

  /** The image's point beneath a pointer, 0..1. */
  #at(event) {
    const box = this.#parts.plane.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  }

  #listen(stage) {
    const use = () => (CamViewer.#latest = this);
    this.shadowRoot.addEventListener("focusin", use);
    this.shadowRoot.addEventListener("pointerdown", use);
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => {
      const { zoom, message } = this.#parts; // what has buttons of its own
      const path = event.composedPath();
      if (!this.facts || event.button || path.includes(zoom) || path.includes(message)) return;
      this.#pointers.set(event.pointerId, event);
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => this.#drag(event));
    for (const name of ["pointerup", "pointercancel"]) {
      stage.addEventListener(name, (event) => this.#pointers.delete(event.pointerId));
    }
    stage.addEventListener("pointerleave", () => this.#point(null));
  }

  #wheel(event) {
    const out = event.deltaY > 0;
    if (!this.facts || (out && this.#transform.scale === 1)) return; // the page scrolls
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    this.#zoom(Math.exp((-event.deltaY * lines) / 400), this.#at(event));
  }

  #point(at) {
    if (this.facts) this.#read(at);
    this.#emit("cam-cursor", { cursor: at });
  }

  #drag(event) {
    if (!this.facts) return;
    const at = this.#at(event);
    const inside = at.x >= 0 && at.x <= 1 && at.y >= 0 && at.y <= 1;
    this.#point(inside ? at : null);
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const other = [...this.#pointers.values()].find((one) => one.pointerId !== event.pointerId);
    if (other) {
      const gap = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      this.#zoom(gap(event) / Math.max(1, gap(before)), this.#at(other));
    } else if (this.#transform.scale > 1) {
      const from = this.#at(before);
      const { scale, x, y } = this.#transform;
      this.#move({ scale, x: x + from.x - at.x, y: y + from.y - at.y });
    }
    this.#pointers.set(event.pointerId, event);
  }

  /** Whether a key is meant for this viewer and not for something that takes keys itself. */
  #isMine(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return false;
    if (!this.facts || this.#parts.help.open || !this.checkVisibility()) return false;
    const path = event.composedPath();
    const [target] = path;
    if (path.includes(this)) {
      const slides = target.matches?.("input[type=range]") && event.key.startsWith("Arrow");
      return !slides && !target.matches?.("select");
    }
    const dialogs = document.querySelectorAll("dialog[open]");
    const open = [...dialogs].at(-1) ?? document;
    const typed = "input, select, textarea, [contenteditable], cam-viewer";
    const roles = ["grid", "listbox", "menu", "tablist", "slider", "combobox"];
    const own = `${typed}, ${roles.map((one) => `[role=${one}]`).join(", ")}`;
    if (target.closest?.(own) || !open.contains(this)) return false;
    const all = [...open.querySelectorAll("cam-viewer:not([controls=none])")];
    const latest = all.includes(CamViewer.#latest) ? CamViewer.#latest : all[0];
    return latest === this;
  }

  #key(event) {
    if (!this.#isMine(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const act = this.#actions()[event.shiftKey && key.startsWith("Arrow") ? `Shift${key}` : key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  #actions() {
    const flip = (name, one, other) => () => this.#choose(name, this.#view(name) === one ? other : one);
    const opacity = (by) => () => {
      const value = clamp(this.#number("opacity") + by, 0, 1);
      this.#choose("opacity", String(Number(value.toFixed(2))));
    };
    const pan = (dx, dy) => () => {
      const { scale, x, y } = this.#transform;
      this.#move({ scale, x: x + (0.1 * dx) / scale, y: y + (0.1 * dy) / scale });
    };
    const navigate = (step) => () => this.#emit("cam-navigate", { step });
    const layers = LAYERS.map((name, i) => [
      String(i + 1), () => Object.hasOwn(this.maps.layers, name) && this.#choose("layer", name),
    ]);
    return {
      ...Object.fromEntries(layers),
      o: flip("overlay", "off", "on"),
      c: flip("mode", "contour", "colour"),
      g: flip("grid", "on", "off"),
      b: () => this.facts.options.clahe && flip("base", "enhanced", "original")(),
      "[": opacity(-0.1),
      "]": opacity(0.1),
      "+": () => this.#zoom(1.5),
      "=": () => this.#zoom(1.5),
      "-": () => this.#zoom(1 / 1.5),
      0: () => this.#move(WHOLE),
      "?": () => this.#parts.help.showModal(),
      ArrowLeft: navigate(-1),
      ArrowRight: navigate(1),
      ShiftArrowLeft: pan(-1, 0),
      ShiftArrowRight: pan(1, 0),
      ShiftArrowUp: pan(0, -1),
      ShiftArrowDown: pan(0, 1),
    };
  }

  // ---- downloads

  /** Save a file named after what is on show: image, model, class, method, and what it is. */
  #save(blob, what, ending) {
    const { image, model, target } = this.facts;
    const stem = image.name.split(/[/\\]/).pop().replace(/\.[^.]*$/, "");
    const { method } = what === this.#layer().name ? this.#layer().facts : this.facts.layers[0];
    const name = fileName([stem, model.name, target.name, method, what], ending);
    const href = URL.createObjectURL(blob);
    make("a", { href, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  }

  async #savePng() {
    this.#save(await this.toBlob({ caption: true }), this.#layer().name, ".png");
  }

  /** The maps at the picture's size, as the service has them. */
  async #saveArray() {
    const type = "application/x-npy";
    const path = `/v1/explanations/${this.facts.digest}`;
    const answer = this.#service.ask(path, { headers: { Accept: type } }).catch((error) => {
      if (!isGone(error)) throw error;
      return this.#service.explain({ ...this.#asked, view: "maps" }, this.#file, type);
    });
    await this.#saveAnswer("array", answer, "maps", ".npy");
  }

  /** The service's figure of all layers, in the colours and opacity of this view. */
  async #savePanel() {
    const colours = { colormap: this.#view("colormap"), alpha: this.#number("opacity") };
    const fields = { ...this.#asked, view: "panel", ...colours };
    const answer = this.#service.explain(fields, this.#file, "image/png");
    await this.#saveAnswer("panel", answer, "panel", ".png");
  }

  async #saveAnswer(name, answer, what, ending) {
    const explanation = this.#explanation;
    try {
      const blob = await (await answer).blob();
      if (explanation === this.#explanation) this.#save(blob, what, ending);
    } catch (error) {
      this.#notice(`No ${name}: ${error.title ?? error.message}`);
    }
  }

  /** What the picture that is downloaded says beneath its colours. */
  #figureLines() {
    const { prediction, target, image, model } = this.facts;
    const { name, facts } = this.#layer();
    const known = image.true_class ? `. True class: ${image.true_class}` : "";
    const cells = facts.grid.join(" × ");
    const about = `${title(name)}: ${facts.label} · ${facts.method} · ${cells} cells`;
    return [
      { text: "of the layer’s maximum", soft: true },
      { text: `Predicted ${prediction.name}, ${percent(prediction.probability)}`, bold: true },
      { text: `Explained: ${target.name}, ${percent(target.probability)}${known}` },
      ...(facts.empty ? [{ text: NO_EVIDENCE, bad: true }] : []),
      { text: about },
      { text: `${model.name} · ${image.name.split(/[/\\]/).pop()}`, soft: true },
      ...this.#viewWords().map((text) => ({ text, soft: true })),
    ];
  }

  /** What of the view a reader of the picture would not guess. */
  #viewWords() {
    const { scale } = this.#transform;
    const hidden = Math.round(100 * this.#number("threshold"));
    const lines = LEVELS.map((one) => `${100 * one}`).join(", ");
    const words = [
      this.facts.options.clahe && this.#view("base") === "enhanced" && "image after CLAHE",
      this.#isShown && this.#isContour && `lines at ${lines} % of the maximum`,
      !this.#isShown && "overlay off",
      this.#isShown && hidden > 0 && `below ${hidden} % hidden`,
      scale > 1 && `a part of the image, ${Math.round(100 * scale)} %`,
    ].filter(Boolean);
    return words.length > 0 ? [title(words.join(" · "))] : [];
  }

  /** How the picture was made: as the service says it of its own, and what the viewer did. */
  #chunks() {
    const view = {
      drawn: "in the viewer",
      opacity: this.#number("opacity"),
      threshold: this.#number("threshold"),
      colormap: this.#view("colormap"),
      mode: this.#view("mode"),
      base: this.#view("base"),
      overlay: this.#isShown,
      grid: this.#view("grid") === "on",
      zoom: this.transform,
    };
    return { ...this.#layer().facts.recipe, View: JSON.stringify(view) };
  }

  /** The address that reopens this view, on the service's own page where no other is named. */
  async #copyLink() {
    const own = () => `${this.#service.base}/?${this.link()}`;
    const address = await (this.#linkTo ?? own)(this.link());
    const { link } = this.#parts;
    const copied = await copyText(String(address), this.shadowRoot);
    link.textContent = copied ? "Copied" : "Not copied";
    this.#say(copied ? "Link copied" : "The browser does not let the link be copied");
    setTimeout(() => (link.textContent = "Link"), 2000);
  }
}

/** A transform with its scale allowed and the view inside the image. */
function within({ scale, x, y }) {
  const allowed = Number(clamp(scale, 1, MOST_ZOOM).toFixed(4));
  const edge = 0.5 / allowed;
  const inside = (value) => Number(clamp(value, edge, 1 - edge).toFixed(5));
  return { scale: allowed, x: inside(x), y: inside(y) };
}

const pngOf = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

/** Copy; pages without TLS have no clipboard API, and the old command then does it. */
async function copyText(text, root) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = make("textarea", { class: "unseen", readonly: true, "aria-hidden": "true" }, text);
    root.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    return copied;
  }
}

if (!customElements.get("cam-viewer")) customElements.define("cam-viewer", CamViewer);
