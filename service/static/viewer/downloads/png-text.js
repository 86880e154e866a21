/** Text in PNG files. */

const HEADER_BYTES = 33; // signature and IHDR of a PNG
const LONGEST_KEYWORD = 79;

/** The same PNG with text chunks, by keyword, before its pixels. */
export async function withText(png, text) {
  const bytes = new Uint8Array(await png.arrayBuffer());
  const chunks = Object.entries(text).map(([keyword, value]) => textChunk(keyword, value));
  const parts = [bytes.subarray(0, HEADER_BYTES), ...chunks, bytes.subarray(HEADER_BYTES)];
  return new Blob(parts, { type: "image/png" });
}

/** tEXt where the value is plain ASCII, else iTXt, which is UTF-8. */
function textChunk(keyword, value) {
  const key = keyword.slice(0, LONGEST_KEYWORD);
  const sound = value.replaceAll("\0", " ");
  const plain = [...sound].every((one) => one.codePointAt(0) < 128);
  const body = new TextEncoder().encode(`${key}${plain ? "\0" : "\0\0\0\0\0"}${sound}`);
  const chunk = new Uint8Array(12 + body.length);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, body.length);
  chunk.set(new TextEncoder().encode(plain ? "tEXt" : "iTXt"), 4);
  chunk.set(body, 8);
  view.setUint32(8 + body.length, crc(chunk.subarray(4, 8 + body.length)));
  return chunk;
}

/** CRC-32 as PNG has it. */
function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value >>> 0;
}
