/**
 * Stages in modules, the equal of the reference's `name:library.so`: `{ type: 'name:./file.mjs', ...options }`.
 *
 * A topic's configuration comes from whoever created the topic, so a module is only ever loaded from a directory that
 * this process has allowed (`modules` of Driver.open), symbolic links resolved. Loaded when the topic is created or
 * opened; a file is loaded once per process, as every ES module.
 */
import { realpath } from 'node:fs/promises';
import { isAbsolute, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DiasporaError, wrapError } from '../errors.js';

/** `'name:./file.mjs'`, taken apart; undefined when it is none. */
export function moduleReference(type: unknown): { readonly name: string; readonly file: string } | undefined {
  if (typeof type !== 'string') return undefined;
  const at = type.indexOf(':');
  if (at < 1 || at === type.length - 1) return undefined;
  return { name: type.slice(0, at), file: type.slice(at + 1) };
}

function refuse(type: string, message: string, cause?: unknown): DiasporaError {
  return new DiasporaError('INVALID_ARGUMENT', `the stage '${type}' cannot be loaded: ${message}`, { cause });
}

function isBelow(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way !== '' && way !== '..' && !way.startsWith('../') && !isAbsolute(way);
}

/** The file in the first allowed directory that has it. */
async function locate(type: string, file: string, directories: readonly string[]): Promise<string> {
  if (directories.length === 0) {
    throw refuse(type, 'no directory is allowed for modules; name one as `modules` in Driver.open (--modules)');
  }
  for (const directory of directories) {
    const root = await realpath(directory).catch(() => undefined);
    const path = root && (await realpath(resolve(root, file)).catch(() => undefined));
    if (root !== undefined && path !== undefined && isBelow(path, root)) return path;
  }
  throw refuse(type, `there is no '${file}' in ${directories.join(', ')}`);
}

/**
 * The stage that a module makes of `config`. INVALID_ARGUMENT, with the cause, when the file is not in an allowed
 * directory, does not load, has no such export, or the export fails.
 */
export async function loadModuleStage(
  config: Readonly<Record<string, unknown>>,
  directories: readonly string[],
): Promise<unknown> {
  const type = String(config['type']);
  const reference = moduleReference(type);
  if (reference === undefined) throw refuse(type, "it must be 'name:./file.mjs'");
  const path = await locate(type, reference.file, directories);
  let exports: Record<string, unknown>;
  try {
    exports = (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  } catch (error) {
    throw wrapError('INVALID_ARGUMENT', `the stage '${type}' cannot be loaded`, error);
  }
  const make = Object.hasOwn(exports, reference.name) ? exports[reference.name] : undefined;
  if (typeof make !== 'function') throw refuse(type, `${path} does not export a function '${reference.name}'`);
  try {
    // A copy: what the module does to it is not stored.
    return await (make as (given: unknown) => unknown)(structuredClone(config));
  } catch (error) {
    throw wrapError('INVALID_ARGUMENT', `the stage '${type}' refused its configuration`, error);
  }
}
