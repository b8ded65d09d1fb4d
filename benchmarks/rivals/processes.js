// Runs one start function in PROCESSES processes (two by default), as every rival is run.
import cluster from 'node:cluster';

export function inProcesses(start) {
  const stop = () => process.exit(0);
  process.on('SIGTERM', stop).on('SIGINT', stop);
  if (!cluster.isPrimary) return void start();
  for (let n = Number(process.env.PROCESSES ?? 2); n > 0; n--) cluster.fork();
  cluster.on('exit', (worker, code) => {
    if (code !== 0) process.exit(1);
  });
}
