// Places in ratios of the frame: which side of a line is in, and the shapes themselves.

export const KINDS = ["line", "zone", "mask"];
export const TABLES = { line: "lines", zone: "zones", mask: "masks" };
const STEPS = { up: [0, -1], down: [0, 1], left: [-1, 0], right: [1, 0] };

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
export const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
export const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
export const round = (point) => point.map((value) => Math.round(clamp(value, 0, 1) * 1e4) / 1e4);

export const centre = (points) =>
  points.reduce((sum, point) => [sum[0] + point[0] / points.length, sum[1] + point[1] / points.length], [0, 0]);

/** Return 1 where the way in is to the right of the way along the line, and -1 where it is to the left. */
export function inSign({ points: [from, to], in: direction }) {
  const [x, y] = STEPS[direction];
  return (to[0] - from[0]) * y - (to[1] - from[1]) * x > 0 ? 1 : -1;
}

/** Return the direction of the way in that says best which side of the line it is. */
export function inDirection([from, to], sign) {
  const [x, y] = [-(to[1] - from[1]) * sign, (to[0] - from[0]) * sign];
  if (Math.abs(x) > Math.abs(y)) return x > 0 ? "right" : "left";
  return y > 0 ? "down" : "up";
}

/** Return points shifted together as far as all stay in the frame. */
export function shifted(points, [x, y]) {
  const xs = points.map((point) => point[0]);
  const ys = points.map((point) => point[1]);
  const right = clamp(x, -Math.min(...xs), 1 - Math.max(...xs));
  const down = clamp(y, -Math.min(...ys), 1 - Math.max(...ys));
  return points.map((point) => round([point[0] + right, point[1] + down]));
}

export const rectangle = (a, b) => [a, [b[0], a[1]], b, [a[0], b[1]]].map(round);
