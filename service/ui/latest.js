/** Questions that follow each other faster than they are answered. */

/**
 * Calls `ask(signal)` at most once in `pause` milliseconds however often it is told of a change, the last change always included, and gives
 * `answered` or `failed` the outcome of the newest question only: an older one is aborted, and dropped if its answer comes all the same.
 */
export function latest(ask, { pause, answered, failed }) {
  let timer = null;
  let controller = null;

  async function run() {
    timer = null;
    controller?.abort();
    const mine = (controller = new AbortController());
    try {
      const answer = await ask(mine.signal);
      if (mine === controller) answered(answer);
    } catch (error) {
      if (mine === controller) failed(error);
    }
  }

  return {
    changed() {
      timer ??= setTimeout(run, pause);
    },
    /** Forgets what was asked; nothing of it is answered any more. */
    cancel() {
      clearTimeout(timer);
      timer = null;
      controller?.abort();
      controller = null;
    },
  };
}
