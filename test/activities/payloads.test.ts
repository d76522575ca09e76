import { describe, expect, it } from 'vitest'
import { createPayloads } from '../../activities/delivery/payloads.ts'

function deferred() {
  const reading = { times: 0, finish: (_: Buffer) => {}, fail: (_: Error) => {} }
  const read = () => {
    reading.times++
    return new Promise<Buffer>((resolve, reject) => {
      reading.finish = resolve
      reading.fail = reject
    })
  }
  return { reading, read }
}

describe('a payload', () => {
  it('is read once for all callers at the same time, and for later ones while a caller still holds it', async () => {
    const { reading, read } = deferred()
    const payloads = createPayloads()
    const asked = [payloads.share('a', read), payloads.share('a', read), payloads.share('a', read)]
    reading.finish(Buffer.from('{}'))
    const [first, ...others] = await Promise.all(asked)
    expect(others).toEqual([first, first])
    expect(await payloads.share('a', read)).toBe(first)
    expect(reading.times).toBe(1)
  })

  it('of one distribution is never given to another', async () => {
    const payloads = createPayloads()
    await payloads.share('a', async () => Buffer.from('a'))
    expect(String(await payloads.share('b', async () => Buffer.from('b')))).toBe('b')
  })

  it('that one could not read is read by the next', async () => {
    const { reading, read } = deferred()
    const payloads = createPayloads()
    const failed = payloads.share('a', read)
    const other = payloads.share('a', async () => Buffer.from('read'))
    reading.fail(new Error('connection lost'))
    await expect(failed).rejects.toThrow('connection lost')
    expect(String(await other)).toBe('read')
  })
})
