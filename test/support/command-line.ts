/** The command line as a process, in a directory of one test file. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

const cli = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));

/** Removed when the tests of the file have ended. */
export const place: string = mkdtempSync(join(tmpdir(), 'diaspora-cli-'));
after(() => rmSync(place, { recursive: true, force: true }));

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export async function textOf(stream: NodeJS.ReadableStream): Promise<string> {
  let text = '';
  for await (const part of stream.setEncoding('utf8')) text += part;
  return text;
}

/**
 * Starts `diaspora ARGS` in `place`; of the product's environment variables it has only those of `environment`. `stdout` may
 * be an open file.
 */
export function start(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  stdout: 'pipe' | number = 'pipe',
): ChildProcess {
  const { DIASPORA_GROUP_FILE: _, DIASPORA_CTL_DRIVER_OPTIONS: __, ...rest } = process.env;
  return spawn(process.execPath, [cli, ...args], {
    cwd: place,
    env: { ...rest, ...environment },
    stdio: ['pipe', stdout, 'pipe'],
  });
}

export async function run(
  args: readonly string[],
  input = '',
  environment: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const child = start(args, environment);
  child.stdin!.end(input);
  const [stdout, stderr] = await Promise.all([textOf(child.stdout!), textOf(child.stderr!), once(child, 'close')]);
  return { code: child.exitCode, stdout, stderr };
}

export function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

/** The lines on stdout of a command that ends with code 0. */
export async function succeed(
  args: readonly string[],
  input = '',
  environment: Readonly<Record<string, string>> = {},
): Promise<string[]> {
  const { code, stdout, stderr } = await run(args, input, environment);
  assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
  return linesOf(stdout);
}

export async function failInOneLine(
  args: readonly string[],
  pattern: RegExp,
  input = '',
  environment: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { code, stderr } = await run(args, input, environment);
  assert.equal(code, 1, stderr);
  assert.equal(linesOf(stderr).length, 1, stderr);
  assert.match(stderr, pattern);
}
