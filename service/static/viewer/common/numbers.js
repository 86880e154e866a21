/** Numbers, kept within bounds. */

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
