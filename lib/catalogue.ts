/**
 * The catalogue: topics over several servers. Internal.
 *
 * Every server keeps its own durable list of entries; a topic's entry is on the arbiter (the server of lowest index,
 * which decides about names) and on every server that owns a partition. Creating: `creating` on the arbiter reserves the
 * name; `active` on the owners makes the partitions; `active` on the arbiter makes it visible. Deleting: `deleting` on
 * the arbiter hides it; the owners remove their parts; the arbiter its entry. Completing: `complete` on the owners, which
 * then take no more events; `complete` on the arbiter. Completing again repairs what a crash between them left.
 * Adding partitions: the longer entry on all owners, the new ones too; then on the arbiter, which makes them visible. What
 * a crash between them left is there, empty and invisible, and is taken up by whoever adds partitions next, or removed by
 * whoever creates the name anew after a delete.
 * Invariant: a topic is visible if and only if the arbiter's entry is active or complete, so a crash between any two steps leaves
 * the name either free or taken; whoever creates a name that such a crash left behind cleans it up first.
 */
import { randomBytes } from 'node:crypto';
import type { Connection } from './drivers/connection.js';
import { DiasporaError } from './errors.js';
import type { NativeTopicEntry } from './native.js';

/** The server that decides about names. */
const arbiter = 0;

export interface TopicSpec {
  readonly name: string;
  readonly partitions: number;
  readonly durability: NativeTopicEntry['durability'];
  readonly manager: NativeTopicEntry['manager'];
  readonly config: string;
  readonly retentionBytes: number;
  readonly retentionAgeMs: number;
}

function notFound(topic: string): DiasporaError {
  return new DiasporaError('TOPIC_NOT_FOUND', `there is no topic '${topic}'`, { topic });
}

function exists(topic: string): DiasporaError {
  return new DiasporaError('TOPIC_EXISTS', `topic '${topic}' exists already`, { topic });
}

/** Where the first partition goes: spread by name, so that topics of one partition do not all meet on one server. */
function firstServer(name: string, servers: number): number {
  let hash = 2166136261;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 16777619) >>> 0;
  return hash % servers;
}

function isVisible({ state }: NativeTopicEntry): boolean {
  return state === 'active' || state === 'complete';
}

export class Catalogue {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** TOPIC_EXISTS when there is one of that name. */
  async create(spec: TopicSpec): Promise<NativeTopicEntry> {
    await this.#clearName(spec.name);
    const uuids = this.#connection.serverUuids();
    const first = firstServer(spec.name, uuids.length);
    const placement: string[] = [];
    for (let i = 0; i < spec.partitions; i += 1) placement.push(uuids[(first + i) % uuids.length] as string);
    const entry: NativeTopicEntry = { ...spec, uuid: randomBytes(16).toString('hex'), state: 'active', placement };
    const owners = this.#owners(entry).filter((server) => server !== arbiter);
    if (owners.length === 0) {
      await this.#connection.topicPut(arbiter, entry);
      return entry;
    }
    await this.#connection.topicPut(arbiter, { ...entry, state: 'creating' });
    try {
      await Promise.all(owners.map((server) => this.#make(server, entry)));
      await this.#connection.topicPut(arbiter, entry);
    } catch (error) {
      // The error that made it fail is the one to tell; what cannot be removed now is cleaned by the next create.
      await this.#remove(entry).catch(() => undefined);
      throw error;
    }
    return entry;
  }

  /**
   * The name is reserved. So what an owner has of that name was left there by an attempt to add partitions, of which a
   * delete knew nothing.
   */
  async #make(owner: number, entry: NativeTopicEntry): Promise<void> {
    try {
      await this.#connection.topicPut(owner, entry);
    } catch (error) {
      if (!(error instanceof DiasporaError && error.code === 'TOPIC_EXISTS')) throw error;
      const left = (await this.#connection.topicList(owner, entry.name)).filter(({ uuid }) => uuid !== entry.uuid);
      await Promise.all(left.map(({ uuid, name }) => this.#connection.topicRemove(owner, uuid, name)));
      await this.#connection.topicPut(owner, entry);
    }
  }

  /** The visible topic of that name. TOPIC_NOT_FOUND when there is none. */
  async find(name: string): Promise<NativeTopicEntry> {
    const entry = (await this.#entries(name)).find(isVisible);
    if (entry === undefined) throw notFound(name);
    return entry;
  }

  async exists(name: string): Promise<boolean> {
    return (await this.#entries(name)).some(isVisible);
  }

  /** Visible topics, by name. */
  async list(): Promise<NativeTopicEntry[]> {
    const entries = await this.#connection.topicList(arbiter, '');
    return entries.filter(isVisible).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Removes the topic and its events; gives what there was. TOPIC_NOT_FOUND when there is none. */
  async delete(name: string): Promise<NativeTopicEntry> {
    const entry = await this.find(name);
    await this.#connection.topicPut(arbiter, { ...entry, state: 'deleting' });
    await this.#remove(entry);
    return entry;
  }

  /** The topic takes no more events. Also where it is complete already: an owner may have missed it. */
  async complete(name: string): Promise<void> {
    const entry: NativeTopicEntry = { ...(await this.find(name)), state: 'complete' };
    const owners = this.#owners(entry).filter((server) => server !== arbiter);
    await Promise.all(owners.map((server) => this.#connection.topicPut(server, entry)));
    await this.#connection.topicPut(arbiter, entry);
  }

  /**
   * The topic has `partitions` of them from now on. INVALID_ARGUMENT when it has so many already, TOPIC_COMPLETE. When it
   * fails, the topic is as it was.
   */
  async extend(name: string, partitions: number): Promise<void> {
    const entry = await this.find(name);
    if (entry.state === 'complete') {
      throw new DiasporaError('TOPIC_COMPLETE', `topic '${name}' is complete`, { topic: name });
    }
    if (partitions <= entry.partitions) {
      const counts = `topic '${name}' has ${entry.partitions} partitions, and can only have more, not ${partitions}`;
      throw new DiasporaError('INVALID_ARGUMENT', counts, { topic: name });
    }
    const placement = (await this.#longestPlacement(entry)).slice(0, partitions);
    const uuids = this.#connection.serverUuids();
    let last = this.#connection.serverIndex(placement.at(-1) as string, name);
    while (placement.length < partitions) {
      last = (last + 1) % uuids.length;
      placement.push(uuids[last] as string);
    }
    const extended: NativeTopicEntry = { ...entry, partitions, placement };
    const owners = this.#owners(extended).filter((server) => server !== arbiter);
    await Promise.all(owners.map((server) => this.#connection.topicPut(server, extended)));
    await this.#connection.topicPut(arbiter, extended);
  }

  /** That of the server which got furthest: an attempt to add partitions may have ended half way. */
  async #longestPlacement({ name, uuid, placement }: NativeTopicEntry): Promise<string[]> {
    const servers = this.#connection.serverUuids().map((_, server) => this.#connection.topicList(server, name));
    const known = (await Promise.all(servers)).flat().filter((entry) => entry.uuid === uuid);
    return known.reduce(
      (longest, entry) => (entry.placement.length > longest.length ? entry.placement : longest),
      placement,
    );
  }

  async #entries(name: string): Promise<NativeTopicEntry[]> {
    return (await this.#connection.topicList(arbiter, name)).filter((entry) => entry.name === name);
  }

  /** Removes what a crashed create or delete left of the name. */
  async #clearName(name: string): Promise<void> {
    const entries = await this.#entries(name);
    if (entries.some(isVisible)) throw exists(name);
    for (const entry of entries) await this.#remove(entry);
  }

  /** The arbiter's entry goes last: as long as it is there, somebody can find what is left. */
  async #remove(entry: NativeTopicEntry): Promise<void> {
    const owners = this.#owners(entry).filter((server) => server !== arbiter);
    await Promise.all(owners.map((server) => this.#connection.topicRemove(server, entry.uuid, entry.name)));
    await this.#connection.topicRemove(arbiter, entry.uuid, entry.name);
  }

  #owners(entry: NativeTopicEntry): number[] {
    return [...new Set(entry.placement)].map((uuid) => this.#connection.serverIndex(uuid, entry.name));
  }
}
