// The socket below a database's client: opened by the egress guard, ended with the attempt.
import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { Attempt } from '../network/deadline.ts'
import type { Egress } from '../network/egress.ts'

/** A connected socket. It keeps a listener for errors for all of its life, and ends when the attempt does. */
export async function connected(
  target: { host: string; port: number },
  attempt: Attempt,
  egress: Egress,
): Promise<Socket> {
  attempt.expect('accept a connection')
  const socket = egress.connect(target)
  socket.on('error', () => {})
  const off = attempt.onStop(() => socket.destroy())
  try {
    await once(socket, 'connect')
  } catch (error) {
    socket.destroy()
    throw error
  } finally {
    off()
  }
  socket.setNoDelay(true)
  socket.setKeepAlive(true, 30_000)
  return socket
}
