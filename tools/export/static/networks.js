// The page's side of worker.js, which runs the networks.

const waiting = new Map();
let worker, number = 0;

/** Start the worker. progress: called with the share of the networks' bytes that have arrived. */
export function startWorker(progress) {
  // A worker made from a blob has this page's Content-Security-Policy; one made from an address would have none.
  const code = `import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`;
  worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
  worker.onmessage = ({ data }) => {
    if (data.progress !== undefined) {
      progress(data.progress);
      return;
    }
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error) reject(new Error(data.error));
    else resolve(data.result);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    for (const { reject } of waiting.values()) reject(new Error(event.message || "a program could not be loaded"));
    waiting.clear();
  };
}

/** Have the worker do one of its tasks. What is asked before its modules are loaded waits for them. */
export function ask(task, options) {
  number += 1;
  const id = number;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, task, options });
  });
}
