// Toxiproxy: a real proxy for what networks do at random, between the product and the servers that it delivers to.

import { wholeEnvironment } from '../../../temporal-config/process/settings.ts'
import { freePort } from '../../../temporal-config/stack/ports.ts'
import { temporaryFolder } from '../folders.ts'
import { program } from './needs.ts'
import { type Receiver, startReceiver } from './receiver.ts'

/** What happens to the connections of a line, besides `down` and `up`; in the words of toxiproxy. */
export interface Toxic {
  type: 'reset_peer' | 'limit_data' | 'timeout' | 'latency' | 'slow_close'
  /** Towards the server or back from it. */
  stream: 'upstream' | 'downstream'
  /** How likely each connection gets it, 0 to 1. */
  toxicity: number
  attributes: Record<string, number>
}

/** The way to one server. */
export interface Line {
  port: number
  /** Replaces the previous fault of the line; open connections get the new one too. */
  poison(toxics: Toxic[]): Promise<void>
  /** Cuts every connection and refuses new ones, until `up`. */
  down(): Promise<void>
  up(): Promise<void>
}

export interface Toxiproxy extends Receiver {
  line(name: string, target: { port: number }): Promise<Line>
}

export async function startToxiproxy(): Promise<Toxiproxy> {
  const port = await freePort(0)
  const url = `http://127.0.0.1:${port}`
  const receiver = await startReceiver({
    name: 'toxiproxy',
    folder: temporaryFolder('toxiproxy'),
    port,
    command: {
      program: await program('toxiproxy'),
      args: ['-host', '127.0.0.1', '-port', String(port)],
      env: { ...wholeEnvironment(), LOG_LEVEL: 'error' },
      stop_signals: ['SIGTERM'],
    },
    answers: () =>
      fetch(`${url}/version`).then(
        (answer) => answer.ok,
        () => false,
      ),
  })

  async function call(method: string, path: string, body?: unknown): Promise<unknown> {
    const answer = await fetch(`${url}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    if (!answer.ok) throw new Error(`toxiproxy answered ${answer.status} to ${method} ${path}: ${await answer.text()}`)
    return answer.status === 204 ? undefined : answer.json()
  }

  return {
    ...receiver,
    async line(name, target) {
      const listen = `127.0.0.1:${await freePort(0)}`
      await call('POST', '/proxies', { name, listen, upstream: `127.0.0.1:${target.port}`, enabled: true })
      const toxics: string[] = []
      return {
        port: Number(listen.split(':')[1]),
        async poison(next) {
          for (const old of toxics.splice(0)) await call('DELETE', `/proxies/${name}/toxics/${old}`)
          for (const [index, toxic] of next.entries()) {
            const own = `${toxic.type}-${index}`
            await call('POST', `/proxies/${name}/toxics`, { name: own, ...toxic })
            toxics.push(own)
          }
        },
        down: async () => void (await call('POST', `/proxies/${name}`, { enabled: false })),
        up: async () => void (await call('POST', `/proxies/${name}`, { enabled: true })),
      }
    },
  }
}
