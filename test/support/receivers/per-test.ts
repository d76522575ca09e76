// Receivers that are gone when their test is over.
import { afterEach } from 'vitest'
import { type HttpReceiver, type Script, startHttpReceiver } from './http.ts'

/** Call it once in a file; the function that it returns starts another receiver, until the end of the test. */
export function receiverPerTest(): (script?: Script) => Promise<HttpReceiver> {
  const receivers: HttpReceiver[] = []
  afterEach(async () => {
    await Promise.all(receivers.splice(0).map((receiver) => receiver.close()))
  })
  return async (script = {}) => {
    const receiver = await startHttpReceiver({ script })
    receivers.push(receiver)
    return receiver
  }
}
