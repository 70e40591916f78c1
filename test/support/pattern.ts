/** Bytes that tell where they came from: a test can check any event's data without keeping a copy. */

/** `size` bytes for event `n`, into a Buffer of its own memory (never the shared pool of small Buffers). */
export function pattern(n: number, size: number): Buffer {
  const buffer = Buffer.from(new ArrayBuffer(size));
  let word = (Math.imul(n + 1, 2654435761) ^ size) >>> 0;
  const words = new Uint32Array(buffer.buffer, 0, size >> 2);
  for (let i = 0; i < words.length; i += 1) {
    word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
    words[i] = word;
  }
  for (let i = words.length * 4; i < size; i += 1) buffer[i] = (n + i) & 255;
  return buffer;
}

/** Whether `bytes` are those of event `n`. */
export function isPattern(n: number, bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, pattern(n, bytes.byteLength)) === 0;
}
