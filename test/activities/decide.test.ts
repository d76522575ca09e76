import { describe, expect, it } from 'vitest'
import { decide } from '../../activities/delivery/decide.ts'
import type { LockedDelivery } from '../../db/distributions/deliveries.ts'

function aDelivery(given: Partial<LockedDelivery>): LockedDelivery {
  return {
    delivery_id: '0192',
    protocol: 'REST',
    destination_id: null,
    status: 'pending',
    attempts: 0,
    round: 1,
    round_attempts: 0,
    error_code: null,
    error_message: null,
    wait_ms: 0,
    budget: 4,
    inline_configuration: {},
    job_status: 'processing',
    needless: false,
    cancel_requested: false,
    expired: false,
    expires_in_ms: 300_000,
    data_type: 'report',
    request_id: null,
    compression: 'none',
    content_type: 'application/json',
    payload_erased: false,
    destination_status: null,
    destination_deleted: false,
    configuration: null,
    rule_shape: null,
    transform_config: null,
    configuration_version: null,
    resumes: 0,
    progress: null,
    ordering_key: null,
    ordering_seq: null,
    target: 'REST://receiver.example:443',
    circuit: null,
    circuit_breaker: null,
    rate_limit: null,
    max_concurrency: null,
    tenant_rate_limit: null,
    tenant_status: 'active',
    ...given,
  }
}

describe('decide', () => {
  it.each<[string, Partial<LockedDelivery>, string]>([
    ['a fresh delivery is sent', {}, 'send'],
    ['a final one is over', { status: 'success' }, 'over'],
    ['one of a job that has ended is over', { job_status: 'cancelled' }, 'over'],
    ['an order to cancel comes before everything that would send', { cancel_requested: true }, 'over'],
    ['an expired one is over', { expired: true }, 'over'],
    ['a wait that is not over is kept', { status: 'waiting', wait_ms: 5 }, 'wait'],
    ['an order to cancel comes before a wait', { wait_ms: 5, cancel_requested: true }, 'over'],
    ['a deleted destination ends it', { destination_deleted: true }, 'fail'],
    ['a suspended tenant defers it', { tenant_status: 'suspended' }, 'defer'],
    ['an inactive tenant defers it', { tenant_status: 'inactive' }, 'defer'],
    ['an inactive destination defers it', { destination_status: 'inactive' }, 'defer'],
    ['one in maintenance defers it', { destination_status: 'maintenance' }, 'defer'],
    ['a deprecated one still delivers', { destination_status: 'deprecated' }, 'send'],
    ['a payload that is gone ends it', { payload_erased: true }, 'fail'],
    ['a protocol that this program does not have ends it', { protocol: 'LATER' }, 'fail'],
    [
      'a disabled destination with such a protocol waits',
      { protocol: 'LATER', destination_status: 'inactive' },
      'defer',
    ],
    ['one whose group was served meanwhile', { needless: true, wait_ms: 5 }, 'skip'],
    ['the last attempt of the budget is sent', { round_attempts: 3 }, 'send'],
    ['beyond the budget nothing is sent', { round_attempts: 4 }, 'exhausted'],
    ['attempts of earlier rounds do not count', { attempts: 9, round: 2, round_attempts: 0 }, 'send'],
    ['a predecessor that is still open is no reason to wait', { status: 'processing', round_attempts: 1 }, 'send'],
  ])('%s', (_title, given, kind) => {
    expect(decide(aDelivery(given)).kind).toBe(kind)
  })
})
