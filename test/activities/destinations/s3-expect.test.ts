// S3 behind stores and proxies that do not know `Expect: 100-continue`, by which a large body is announced.
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { forgetExpectations } from '../../../activities/destinations/s3/expectations.ts'
import { describeWith } from '../../support/receivers/needs.ts'
import { failureOf } from './contract.ts'
import { isPart, MIB, Store } from './sending-s3.ts'

const describe = await describeWith('versitygw')

describe('an S3 store that does not know Expect', () => {
  const store = new Store()
  const asking = () => store.front.requests.filter(({ headers }) => headers.expect !== undefined)
  const refuse = (status = 417, at_the_head?: true) =>
    store.front.decide(({ headers }) =>
      headers.expect === undefined ? undefined : { status, body: 'no', ...(at_the_head && { at_the_head }) },
    )
  beforeEach(forgetExpectations)
  afterEach(forgetExpectations)

  it.each([
    ['at the head', true],
    ['after the body', undefined],
  ] as const)('and refuses it %s gets the same request without it, in the same attempt', async (_, atTheHead) => {
    refuse(417, atTheHead)
    const body = randomBytes(2 * MIB)
    const receipt = await store.send({ metadata: { of: 'test' } }, { body })
    expect(receipt).toMatchObject({ status: 200 })
    expect(store.front.requests).toHaveLength(2)
    const [first, second] = store.front.requests
    const { expect: asked, connection, ...same } = first!.headers
    expect(asked).toBe('100-continue')
    expect(second!.headers).toEqual({ ...same, connection: connection === undefined ? connection : expect.any(String) })
    // The store checks the signature.
    expect((await store.stored()).body.equals(body)).toBe(true)
  })

  it('is not asked again for a while', async () => {
    refuse()
    const body = randomBytes(MIB)
    for (const key of ['a', 'b', 'c']) await store.send({ key }, { body })
    expect(asking()).toHaveLength(1)
    expect(store.front.requests).toHaveLength(4)
  })

  it('takes an object in parts, of which only the first is asked about', async () => {
    refuse()
    const body = randomBytes(20 * MIB)
    await store.send({}, { body })
    expect(store.front.requests.filter(isPart)).toHaveLength(4)
    expect(asking()).toHaveLength(1)
    expect((await store.stored()).body.equals(body)).toBe(true)
    expect(await store.uploads()).toEqual([])
  })

  it('and says nothing is waited for once', async () => {
    store.front.continues = false
    const body = randomBytes(20 * MIB)
    await store.send({}, { body })
    expect(store.front.requests.filter(isPart)).toHaveLength(3)
    expect(asking()).toHaveLength(1)
    expect((await store.stored()).body.equals(body)).toBe(true)
  })

  it('and refuses what is not asked too ends the attempt, with no third request', async () => {
    store.front.decide(() => ({ status: 417 }))
    const error = await failureOf(store.send({}, { body: randomBytes(2 * MIB) }))
    expect(error).toMatchObject({ code: 'REJECTED', message: 'the destination answered 417' })
    expect(store.front.requests).toHaveLength(2)
  })

  it('but one that knows it is asked each time', async () => {
    const body = randomBytes(MIB)
    for (const key of ['a', 'b']) await store.send({ key }, { body })
    expect(asking()).toHaveLength(2)
    expect(store.front.requests).toHaveLength(2)
  })

  it('and small objects are sent without asking', async () => {
    refuse()
    await store.send({}, { body: randomBytes(1000) })
    expect(store.front.requests).toHaveLength(1)
  })

  it('another status at the head is the answer, and nothing is sent again', async () => {
    refuse(403, true)
    expect(await failureOf(store.send({}, { body: randomBytes(2 * MIB) }))).toMatchObject({ code: 'UNAUTHORIZED' })
    expect(store.front.requests).toHaveLength(1)
  })
})
