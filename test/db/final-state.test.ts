import { describe, expect, it } from 'vitest'
import { type DeliverySummary, deriveFinalState, type EndedBy } from '../../db/distributions/final-state.ts'

function aDelivery(given: Partial<DeliverySummary>): DeliverySummary {
  return { destination_name: 'a', status: 'success', attempts: 1, error_code: null, error_message: null, ...given }
}

const SUCCESS = aDelivery({})
const UNNEEDED = aDelivery({ status: 'skipped', attempts: 0 })
const REJECTED = aDelivery({ destination_name: 'b', status: 'failed', error_code: 'REJECTED', error_message: 'no' })
const TIMED_OUT = aDelivery({ destination_name: 'c', status: 'failed', error_code: 'TIMEOUT', attempts: 4 })
const SWITCHED_OFF = aDelivery({ status: 'skipped', attempts: 0, error_code: 'DESTINATION_DISABLED' })
const CANCELLED = aDelivery({ status: 'cancelled', error_code: 'CANCELLED' })
const EXPIRED = aDelivery({ status: 'failed', error_code: 'EXPIRED' })
const inGroup = (delivery: DeliverySummary, failover_group = 1) => ({ ...delivery, failover_group })

describe('deriveFinalState', () => {
  it.each<[string, DeliverySummary[], EndedBy, string, string | null]>([
    ['all served', [SUCCESS, SUCCESS], 'deliveries', 'completed', null],
    ['served, the rest not needed', [SUCCESS, UNNEEDED], 'deliveries', 'completed', null],
    ['one refused', [SUCCESS, REJECTED], 'deliveries', 'failed', 'REJECTED'],
    ['the first failure by position names the code', [TIMED_OUT, REJECTED], 'deliveries', 'failed', 'TIMEOUT'],
    ['skipped for a reason is not served', [SUCCESS, SWITCHED_OFF], 'deliveries', 'failed', 'DESTINATION_DISABLED'],
    ['a group of which one was served', [inGroup(REJECTED), inGroup(SUCCESS)], 'deliveries', 'completed', null],
    ['a group that was served before it expired', [inGroup(SUCCESS), inGroup(EXPIRED)], 'expiry', 'completed', null],
    ['a group of which none was served', [inGroup(TIMED_OUT), SUCCESS], 'deliveries', 'failed', 'TIMEOUT'],
    [
      'one that is owed to another rule as well',
      [{ ...inGroup(REJECTED), required: true }, inGroup(SUCCESS)],
      'deliveries',
      'failed',
      'REJECTED',
    ],
    ['another group helps nobody', [inGroup(REJECTED, 2), inGroup(SUCCESS)], 'deliveries', 'failed', 'REJECTED'],
    ['a cancel that came after everything was served', [SUCCESS, SUCCESS], 'cancel', 'completed', null],
    ['a cancel in the middle', [SUCCESS, CANCELLED], 'cancel', 'cancelled', 'CANCELLED'],
    ['a cancel before anything', [], 'cancel', 'cancelled', 'CANCELLED'],
    ['an expiry in the middle', [SUCCESS, EXPIRED], 'expiry', 'failed', 'EXPIRED'],
    ['an expiry that came after everything was served', [SUCCESS], 'expiry', 'completed', null],
  ])('%s', (_title, deliveries, endedBy, status, code) => {
    expect(deriveFinalState(deliveries, endedBy, false)).toMatchObject({ status, error_code: code })
  })

  it('ends an empty plan with a warning, or as failed where the tenant wants that', () => {
    expect(deriveFinalState([], 'deliveries', false)).toMatchObject({
      status: 'completed',
      warnings: ['No destination was chosen for this distribution'],
    })
    expect(deriveFinalState([], 'deliveries', true)).toMatchObject({ status: 'failed', error_code: 'MISCONFIGURED' })
  })

  it("counts the attempts beyond each delivery's first", () => {
    expect(deriveFinalState([SUCCESS, TIMED_OUT, UNNEEDED], 'deliveries', false).retry_count).toBe(3)
  })
})
