// A proxy on loopback that injects a network fault at a turn that the test chooses. It does not parse the protocol: a new
// turn begins each time that the other side begins to send. So tests reach every phase of every protocol (greeting,
// login, transfer, confirmation) without naming it.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** What happens when the turn `at` begins. Turn 0 is the connection itself; turn 1 the first bytes from either side. */
export interface Fault {
  at: number
  /**
   * `stall`: nothing passes any more, and no connection is closed. `cut`: the connection is reset, and the turn's words are lost.
   * `cut short`: all but the last byte of the turn's first words pass, then the connection ends.
   */
  kind: 'stall' | 'cut' | 'cut short'
}

export interface Conversation {
  port: number
  /** Turns of the longest conversation so far. */
  turns(): number
  connections: { open: number; total: number }
  /** Resolves when a connection has come to the fault. */
  reached: Promise<void>
  /** No fault any more, for connections that have not come to it yet: one may be kept and used again. */
  mend(): void
  /** Resets all connections that are open. */
  reset(): void
  /** Nothing passes on the open connections, and none is closed. */
  freeze(): void
  /** Resolves when no connection is open; rejects after `timeoutMs`. */
  idle(timeoutMs?: number): Promise<void>
  close(): Promise<void>
}

interface Line {
  inbound: Socket
  outbound: Socket | undefined
  stalled: boolean
}

export async function converse(target: { host: string; port: number }, fault?: Fault): Promise<Conversation> {
  const lines = new Set<Line>()
  const waiting = new Set<() => void>()
  const connections = { open: 0, total: 0 }
  let present = fault
  let longest = 0
  let reach: () => void = () => {}
  const reached = new Promise<void>((resolve) => {
    reach = resolve
  })

  const server = createServer((inbound) => {
    connections.open += 1
    connections.total += 1
    const line: Line = { inbound, outbound: undefined, stalled: false }
    lines.add(line)
    inbound.on('error', () => {})
    inbound.on('close', () => {
      connections.open -= 1
      lines.delete(line)
      line.outbound?.destroy()
      for (const look of waiting) look()
    })
    const mine = present
    if (mine?.at === 0) {
      reach()
      if (mine.kind === 'stall') inbound.resume()
      else inbound.resetAndDestroy()
      return
    }
    speak(line, mine)
  })

  function speak(line: Line, mine: Fault | undefined): void {
    const { inbound } = line
    const outbound = connect(target)
    line.outbound = outbound
    let turn = 0
    let speaker: Socket | undefined
    outbound.on('error', () => {})
    outbound.on('close', () => {
      // A stalled connection does not show that its other end has closed.
      if (!line.stalled) inbound.destroy()
    })
    for (const [from, to] of [
      [inbound, outbound],
      [outbound, inbound],
    ] as const) {
      from.on('data', (words: Buffer) => {
        if (line.stalled) return
        if (speaker !== from) turn += 1
        speaker = from
        longest = Math.max(longest, turn)
        if (mine === undefined || mine !== present || turn < mine.at) {
          to.write(words)
          return
        }
        reach()
        if (mine.kind === 'stall') line.stalled = true
        else if (mine.kind === 'cut') hangUp(line)
        else {
          line.stalled = true
          to.write(words.subarray(0, -1), () => {
            to.end()
            from.resetAndDestroy()
          })
        }
      })
      from.on('end', () => {
        if (!line.stalled) to.end()
      })
    }
  }

  function hangUp(line: Line): void {
    line.inbound.resetAndDestroy()
    line.outbound?.resetAndDestroy()
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    turns: () => longest,
    connections,
    reached,
    mend() {
      present = undefined
    },
    reset() {
      for (const line of lines) hangUp(line)
    },
    freeze() {
      for (const line of lines) line.stalled = true
    },
    idle(timeoutMs = 10_000) {
      return new Promise((resolve, reject) => {
        const late = setTimeout(() => {
          waiting.delete(look)
          reject(new Error(`${connections.open} connections are still open after ${timeoutMs} ms`))
        }, timeoutMs)
        const look = () => {
          if (connections.open > 0) return
          clearTimeout(late)
          waiting.delete(look)
          resolve()
        }
        waiting.add(look)
        look()
      })
    },
    async close() {
      for (const line of lines) hangUp(line)
      server.close()
      await once(server, 'close')
    },
  }
}
