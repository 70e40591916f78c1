import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkName } from '../lib/names.js';

test('usual names are allowed', () => {
  for (const name of [
    'a',
    'beam-line_7',
    'a.b',
    'a..b',
    '...',
    'tópico 1',
    '話題',
    '🙂',
    'x'.repeat(256),
    'é'.repeat(128),
  ]) {
    assert.equal(checkName('topic', name), name);
  }
});

test('names that could be paths, separators or nothing are refused', () => {
  const bad = [
    '',
    '.',
    '..',
    'a/b',
    '/',
    'a\\b',
    'a:b',
    'a\nb',
    '\0',
    '\x7f',
    '\x85',
    'x'.repeat(257),
    'é'.repeat(129),
    '\ud800',
  ];
  for (const name of [...bad, undefined, null, 7, {}]) {
    assert.throws(() => checkName('topic', name), { code: 'INVALID_NAME' }, JSON.stringify(name));
  }
});

test('the error has the name', () => {
  assert.throws(() => checkName('topic', 'a/b'), { topic: 'a/b', retryable: false });
  assert.throws(() => checkName('consumer', 'a/b'), { consumer: 'a/b' });
});
