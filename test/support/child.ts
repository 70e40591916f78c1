/** The child's side of support/program.ts. */

/** The options that the test gave. */
export function optionsOf<T>(): T {
  return JSON.parse(process.argv[2] ?? '{}') as T;
}

/** Sends a message to the test; resolves when it is on its way. */
export function tell(message: unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    if (process.send === undefined) throw new Error('this program is started by a test');
    process.send(message, (error: Error | null) => (error ? reject(error) : resolve()));
  });
}

/** Lets the program end although the channel to the test is open. */
export function letGo(): void {
  process.channel?.unref();
}
