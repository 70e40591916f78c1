/** docs/parity.md tells the truth about its tests: each that it names exists, and only what is missing, or is nothing here, has none. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');

function titles(folder: string, ending: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(ending))
    .map((file) => readFileSync(join(folder, file), 'utf8'));
}

test('every row of docs/parity.md names tests that exist, or says that it is not there yet or not applicable', () => {
  const sources = [...titles(join(root, 'test'), '.ts'), ...titles(join(root, 'native'), '_test.cc')].join('\n');
  const rows = readFileSync(join(root, 'docs/parity.md'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| the reference') && !line.startsWith('| | '));
  assert.ok(rows.length > 200, `${rows.length}`);
  for (const row of rows) {
    const cells = row.split(' | ').map((cell) => cell.replace(/^\||\|$/g, '').trim());
    const named = [...(cells.at(-1) ?? '').matchAll(/`([^`]+)`/g)].map(([, title]) => title as string);
    if (named.length === 0) assert.match(row, /Not yet|Not applicable/, row);
    for (const title of named) {
      assert.ok(
        sources.includes(`'${title}'`) || sources.includes(`\`${title}\``) || sources.includes(`, ${title})`),
        `there is no test '${title}'`,
      );
    }
  }
});
