import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { fabricInfo } from '../lib/index.js';

test('a missing addon is NATIVE_MISSING: every attempt, the build command, and where libfabric comes from', async () => {
  const before = process.env['DIASPORA_ADDON'];
  after(() => {
    if (before === undefined) delete process.env['DIASPORA_ADDON'];
    else process.env['DIASPORA_ADDON'] = before;
  });
  process.env['DIASPORA_ADDON'] = '/nowhere/diaspora.node';
  await assert.rejects(
    async () => fabricInfo(),
    (error: Error & { code?: string }) => {
      assert.equal(error.code, 'NATIVE_MISSING');
      for (const part of ['/nowhere/diaspora.node', 'npm run build', 'libfabric1', process.version]) {
        assert.ok(error.message.includes(part), `${part} in ${error.message}`);
      }
      return true;
    },
  );
});
