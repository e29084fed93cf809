"""Makes a PNG three times smaller: at most 256 colours, which is all that a screen needs.

A page of the browser counts and replaces colours; the file is written here.
"""

from __future__ import annotations

import base64
import struct
import zlib

from playwright.sync_api import Page

REDUCE = """async (source) => {
  const image = new Image();
  image.src = 'data:image/png;base64,' + source;
  await image.decode();
  const {width, height} = image;
  const context = new OffscreenCanvas(width, height).getContext('2d');
  context.drawImage(image, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
  const parts = (colour) => [colour & 255, colour >> 8 & 255, colour >> 16 & 255];
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const popular = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
  // The surfaces, then one of every hue, so that a rare red is not lost, then ever nearer ones.
  const kept = new Set(popular.slice(0, 128));
  for (const bits of [5, 4, 3, 2, 0]) {
    const name = (colour) => parts(colour).map((part) => part >> bits).join();
    const known = new Set([...kept].map(name));
    for (const colour of popular) {
      if (kept.size === 256) break;
      if (!known.has(name(colour))) { known.add(name(colour)); kept.add(colour); }
    }
  }
  const palette = [...kept];
  const shades = palette.map(parts);
  const numbers = new Map(palette.map((colour, number) => [colour, number]));
  for (const colour of popular) {
    if (numbers.has(colour)) continue;
    const [red, green, blue] = parts(colour);
    let best = 0, least = Infinity;
    for (const [number, [r, g, b]] of shades.entries()) {
      const far = (red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2;
      if (far < least) [best, least] = [number, far];
    }
    numbers.set(colour, best);
  }
  let text = '';
  const row = new Uint8Array(width);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) row[x] = numbers.get(pixels[y * width + x]);
    text += String.fromCharCode(...row);
  }
  return {width, height, shades, points: btoa(text)};
}"""


def smaller(png: bytes, blank: Page) -> bytes:
    """The same picture with a palette; `blank` is any page without a policy against scripts."""
    found = blank.evaluate(REDUCE, base64.b64encode(png).decode())
    width, height = found["width"], found["height"]
    points = base64.b64decode(found["points"])
    rows = b"".join(b"\0" + points[at : at + width] for at in range(0, width * height, width))
    palette = bytes(part for shade in found["shades"] for part in shade)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", head),
            (b"PLTE", palette),
            (b"IDAT", zlib.compress(rows, 9)),
            (b"IEND", b""),
        )
    )
