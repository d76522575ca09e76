// A program for tests: holds the embedded stack of the folder named by its argument until SIGTERM.
import { StackRefused, startStack } from '../../../temporal-config/stack/stack.ts'

try {
  const stack = await startStack({
    data_dir: process.argv[2]!,
    what: 'the holder',
    postgres: { port: 0, durable: false },
    temporal: { cli: process.env.TEMPORAL_CLI, port: 0, namespace: 'default' },
    say: (line) => console.log(JSON.stringify({ say: line })),
  })
  console.log(JSON.stringify({ ready: stack }))
  process.on('SIGTERM', async () => {
    await stack.stop()
    process.exit(0)
  })
} catch (error) {
  if (!(error instanceof StackRefused)) throw error
  console.error(error.message)
  process.exit(1)
}
