/** Lines over an image: numbers in, SVG paths out. */

/** Of contour lines, as shares of the layer's maximum. */
export const LEVELS = [0.25, 0.5, 0.75];

const CONTOUR_SIDE = 256; // contours are traced on at most so many samples a side

/** Marching squares: SVG paths of where a map crosses each of LEVELS, in image pixels. */
export function contourPaths({ values, width, height }) {
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
export function gridPath([rows, columns], width, height) {
  let d = "";
  for (let i = 0; i <= columns; i++) d += `M${(i * width) / columns} 0V${height}`;
  for (let i = 0; i <= rows; i++) d += `M0 ${(i * height) / rows}H${width}`;
  return d;
}
