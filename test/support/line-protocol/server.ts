// A server of LINE on loopback. It keeps what is put into its boxes.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'

export interface LineServer {
  port: number
  /** What is in each box, oldest first. Only boxes that are here take anything. */
  boxes: Map<string, { delivery_id: string; body: Buffer }[]>
  /** The next PUTs are answered by this, one each. */
  refuse: string[]
  /** Ends the server and starts it again on the same port. */
  restart(): Promise<void>
  close(): Promise<void>
}

export async function startLineServer(token: string): Promise<LineServer> {
  const boxes: LineServer['boxes'] = new Map()
  const refuse: string[] = []
  const sockets = new Set<Socket>()
  let server = await listen(0)
  const { port } = server.address() as AddressInfo

  async function listen(on: number): Promise<Server> {
    const made = createServer((socket) => {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket)).on('error', () => {})
      serve(socket)
    })
    made.listen(on, '127.0.0.1')
    await once(made, 'listening')
    return made
  }

  function serve(socket: Socket): void {
    let unread: Buffer = Buffer.alloc(0)
    let known = false
    socket.on('data', (bytes: Buffer) => {
      unread = Buffer.concat([unread, bytes])
      for (;;) {
        const at = unread.indexOf('\r\n')
        if (at < 0) return
        const [verb, ...words] = unread.toString('latin1', 0, at).split(' ')
        const size = verb === 'PUT' ? Number(words[2]) : 0
        if (unread.length < at + 2 + size) return
        const body = Buffer.from(unread.subarray(at + 2, at + 2 + size))
        unread = unread.subarray(at + 2 + size)
        if (verb === 'AUTH') known = words[0] === token
        socket.write(`${known ? answer(verb, words, body) : 'NO token'}\r\n`)
      }
    })
  }

  function answer(verb: string | undefined, [box = '', delivery_id = '']: string[], body: Buffer): string {
    if (verb !== 'PUT') return 'OK'
    const refusal = refuse.shift()
    if (refusal !== undefined) return `NO ${refusal}`
    const put = boxes.get(box)
    if (!put) return 'NO box'
    put.push({ delivery_id, body })
    return 'OK'
  }

  async function close(): Promise<void> {
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    await closed
  }

  return {
    port,
    boxes,
    refuse,
    async restart() {
      await close()
      server = await listen(port)
    },
    close,
  }
}
